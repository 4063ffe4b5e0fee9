"""A bar on a terminal, a line every half minute in a log."""

from __future__ import annotations

import io

from volume.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_half_minute_with_the_time_that_is_left() -> None:
    now, lines = 0.0, []
    with Progress("factscore-train", 10, 100, lines.append, io.StringIO(), lambda: now) as progress:
        for now, done in ((10.0, 20), (31.0, 40), (50.0, 60), (62.0, 100)):
            progress.show(done)
    # 30 topics in 31 s, so 60 more take 62 s; those done before the start say nothing of the speed.
    assert lines == ["40 of 100 topics (40 %), 62 s left", "100 of 100 topics (100 %)"]


def test_a_terminal_gets_one_line_that_is_drawn_anew_and_taken_away() -> None:
    lines: list[str] = []
    terminal = Terminal()
    with Progress("factscore-train", 0, 4, lines.append, terminal, lambda: 0.0) as progress:
        progress.show(1)
        progress.show(4)
    drawn = terminal.getvalue()
    assert lines == [] and "\n" not in drawn
    assert "factscore-train ███████░" in drawn and "4 of 4 topics (100 %)" in drawn
    assert drawn.endswith("\r\033[K")
