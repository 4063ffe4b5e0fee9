"""Several processes share out the topics of a step: the same bytes whatever their number, and whoever is killed.

The stage under test is that of rank_stage.py, whose bytes depend on the group that a topic is worked on in.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rank_stage import NAMES, STAGE, make_volume, manifest, outputs, run, start, told, wait_for_work

from volume.context import Context
from volume.errors import VolumeError
from volume.files import write_json
from volume.journal import Journal, read_entries, read_failures
from volume.progress import Progress
from volume.ranks import Rank, StepHold, this_rank
from volume.stage import run_topics, run_whole


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return make_volume(tmp_path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume on which one process has done everything in one go."""
    volume = make_volume(tmp_path_factory.mktemp("alone"))
    assert run(volume) == [0]
    return volume


def test_a_fixed_group_is_worked_on_whole_and_only_what_was_to_do_is_kept(alone: Path, volume: Path) -> None:
    assert run(volume) == [0]
    folder = volume / "dataset_synth" / "atomic_qs"
    (folder / "Person 5_aqs.json").unlink()
    (folder / "Person 14_aqs.json").write_text("{}")
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name not in ("Person 5_aqs.json", "Person 14_aqs.json")}
    again = start(volume)
    assert again.communicate()[0].splitlines() == ["Person 4+Person 5+Person 6", "Person 13+Person 14"]
    assert again.returncode == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert outputs(volume) == outputs(alone)
    assert told(volume) == told(alone)  # what was thrown away is not counted: 14 names of 8 or 9 letters, once
    assert dict(told(volume)[0])["facts"] == 9 * 8 + 5 * 9


def test_counts_of_what_is_thrown_away_are_dropped(volume: Path) -> None:
    kept: list[Context] = []

    def prepare(ctx: Context) -> Any:
        kept.append(ctx)

        def work(topics: list[Any]) -> dict[str, Any]:
            assert ctx.topic_counts == {}
            for topic in topics:
                ctx.count("facts", topic=topic["topic"])
            return {topic["topic"]: [[]] for topic in topics}

        return work

    argv = ["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]
    assert run_topics("questions", prepare, group=3, fixed=True, argv=[*argv, "--limit", "4"]) == 0
    assert run_topics("questions", prepare, group=3, fixed=True, argv=argv) == 0  # the fourth topic is done a second time, with its group
    told_counts = manifest(volume)
    assert told_counts is not None and told_counts["counts"]["facts"] == 14 and kept[1].topic_counts == {}


def test_without_it_a_group_holds_what_is_left(volume: Path) -> None:
    called: list[list[str]] = []

    def prepare(_ctx: Context) -> Any:
        def work(topics: list[Any]) -> dict[str, Any]:
            called.append([topic["topic"] for topic in topics])
            return {topic["topic"]: [[]] for topic in topics}

        return work

    argv = ["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]
    assert run_topics("questions", prepare, group=3, argv=[*argv, "--limit", "4"]) == 0
    assert run_topics("questions", prepare, group=3, argv=argv) == 0
    assert called[:3] == [NAMES[:3], NAMES[3:4], NAMES[4:7]]


@pytest.mark.parametrize("of", [2, 3, 7])
def test_any_number_of_processes_writes_the_same_bytes(alone: Path, volume: Path, of: int) -> None:
    assert run(volume, of, "a") == [0] * of
    assert outputs(volume) == outputs(alone) and told(volume) == told(alone)
    assert run(volume, of, "b") == [0] * of  # up to date


def test_each_rank_takes_its_own_groups_and_the_one_that_ends_last_writes_the_manifest(alone: Path, volume: Path) -> None:
    worked = []
    for rank in (2, 0, 1):
        assert manifest(volume) is None
        process = start(volume, rank, 3)
        worked.append(process.communicate()[0].split("\n")[:-1])
        assert process.returncode == 0
    assert [[line.split("+")[0] for line in lines] for lines in worked] == [["Person 7"], ["Person 1", "Person 10"], ["Person 4", "Person 13"]]
    assert told(volume) == told(alone)


def test_killed_at_random_moments_any_number_of_processes_goes_on_to_the_same_bytes(alone: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for then in (1, 2):
        volume = make_volume(tmp_path / str(then))
        for attempt in range(3):
            processes = [start(volume, rank, 3, f"{then}{attempt}", PAUSE="0.08") for rank in range(3)]
            time.sleep(rng.uniform(0.15, 0.6))
            for process in rng.sample(processes, rng.choice([1, 1, 2])):
                process.send_signal(signal.SIGKILL)
            for process in processes:
                process.communicate()
        assert run(volume, then, "z") == [0] * then
        assert outputs(volume) == outputs(alone) and told(volume) == told(alone)
        assert not list((volume / "dataset_synth" / "atomic_qs").glob("*.partial"))


def test_a_killed_rank_leaves_no_manifest_and_its_finished_groups(alone: Path, volume: Path) -> None:
    first, second = start(volume, 0, 2, "a"), start(volume, 1, 2, "a", PAUSE="30")
    wait_for_work(second)
    said = first.communicate()[1]
    assert first.returncode == 0 and "rank 0 of 2: 8 of its 8 topics" in said  # 1 to 3, 7 to 9, 13 and 14
    second.kill()
    second.communicate()
    assert manifest(volume) is None and len(outputs(volume)) == 8
    after = start(volume)
    assert after.communicate()[0].splitlines() == ["Person 4+Person 5+Person 6", "Person 10+Person 11+Person 12"]
    assert told(volume) == told(alone)


def test_failed_topics_of_all_ranks_are_in_the_manifest_and_tried_again(alone: Path, volume: Path) -> None:
    (volume / "dataset_synth" / "factscore_outputs" / "Person 9_fs_out.json").unlink()
    assert sorted(run(volume, 3, "a", BAD="Person 2,Person 12")) == [0, 0, 3]  # the last to end tells of all
    missing = "dataset_synth/factscore_outputs/Person 9_fs_out.json is missing: an earlier stage failed on it"
    assert told(volume)[1] == [("Person 2", "no such title"), ("Person 9", missing), ("Person 12", "no such title")]
    assert told(volume)[3] == "partial"
    one = make_volume(volume / "one")
    (one / "dataset_synth" / "factscore_outputs" / "Person 9_fs_out.json").unlink()
    assert run(one, BAD="Person 2,Person 12") == [3]
    assert told(one) == told(volume) and outputs(one) == outputs(volume)
    assert sorted(run(volume, 2, "b", BAD="Person 2")) == [0, 3]
    assert [name for name, _ in told(volume)[1]] == ["Person 2", "Person 9"]
    write_json(volume / "dataset_synth" / "factscore_outputs" / "Person 9_fs_out.json", [])
    assert run(volume, 3, "c") == [0, 0, 0]
    assert told(volume)[0] == told(alone)[0]


def test_what_failed_in_an_earlier_launch_is_not_taken_for_this_one_s(volume: Path) -> None:
    """Else rank 0 would call the step partial, with status 3, and torchrun would stop its peers before they have tried again."""
    assert [start(volume, 1, 2, "a", BAD="Person 5").wait(), manifest(volume)] == [0, None]  # stopped before rank 0 had begun
    assert [start(volume, 0, 2, "b").wait(), manifest(volume)] == [0, None]
    assert start(volume, 1, 2, "b").wait() == 0
    assert told(volume)[3] == "complete"


def test_while_a_peer_tries_again_what_it_failed_on_nobody_tells_of_it(volume: Path) -> None:
    """Where nothing tells one launch from the next, the peer's hold on the step does."""
    assert [start(volume, 1, 2, BAD="Person 5").wait(), manifest(volume)] == [0, None]
    peer = start(volume, 1, 2, PAUSE="60")
    wait_for_work(peer)
    assert [start(volume, 0, 2).wait(), manifest(volume)] == [0, None]
    peer.kill()
    peer.communicate()


@pytest.fixture
def working(volume: Path) -> Iterator[subprocess.Popen[str]]:
    """Rank 1 of 2, at work until it is killed."""
    process = start(volume, 1, 2, "a", PAUSE="60")
    wait_for_work(process)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("rank", "of", "launch"), [(0, 1, ""), (0, 2, "b"), (0, 3, "a"), (1, 2, "a")],
    ids=["a process alone", "another launch", "another number of ranks", "the same rank once more"],
)  # fmt: skip
def test_while_a_rank_works_it_is_refused(volume: Path, working: subprocess.Popen[str], rank: int, of: int, launch: str) -> None:
    process = start(volume, rank, of, launch)
    _, error = process.communicate()
    assert process.returncode == 1
    assert "is being run by another process on this volume; wait for it." in error and "Traceback" not in error
    assert working.poll() is None and outputs(volume) == {}


def test_a_rank_that_comes_while_a_peer_looks_whether_it_was_the_last_waits_and_is_not_refused(tmp_path: Path) -> None:
    first, second = (StepHold(tmp_path, "step", Rank(number, 2, "a")) for number in range(2))
    with first:
        assert first.is_last()
        comes = threading.Thread(target=second.__enter__)
        comes.start()
        with (tmp_path / "step.gate").open("a") as gate:
            while True:  # until the second one stands in the gate
                try:
                    fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    break
                fcntl.flock(gate, fcntl.LOCK_UN)
        assert comes.is_alive()
    comes.join()
    assert second.is_last()
    second.__exit__()


def test_a_volume_without_locks_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: Any, _how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(VolumeError, match=r"cannot be locked \(Function not implemented\): .* must support flock"), StepHold(tmp_path, "step", Rank()):
        pass


def test_ranks_are_refused_while_a_process_works_alone(volume: Path) -> None:
    alone = start(volume, PAUSE="60")
    wait_for_work(alone)
    process = start(volume, 0, 2)
    assert "is being run by another process" in process.communicate()[1] and process.returncode == 1
    alone.kill()
    alone.communicate()


def test_a_rank_whose_torchrun_was_killed_stops_after_the_group_in_hand(volume: Path, tmp_path: Path) -> None:
    script = tmp_path / "stage.py"
    script.write_text(STAGE)
    line = f"{shlex.join([sys.executable, str(script), '--dataset', 'synth', '--data-dir', str(volume), '--split', 'train'])} & wait"
    variables = {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a", "PAUSE": "0.5"}
    shell = subprocess.Popen(["sh", "-c", line], env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_work(shell)
    shell.kill()
    _, error = shell.communicate()  # ends when the rank, too, has closed its end
    assert "interrupted. What was finished is kept" in error
    assert sorted(outputs(volume)) == [f"{name}_aqs.json" for name in NAMES[:3]]


def test_a_stage_of_one_piece_is_done_by_rank_0_alone(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = volume / "dataset_synth" / "report" / "index.html"
    worlds: list[str] = []

    def produce(_ctx: Context) -> list[Path]:
        worlds.append(os.environ["WORLD_SIZE"])  # peers that have left are not waited for
        write_json(target, {})
        return [target]

    argv = ["--dataset", "synth", "--data-dir", str(volume)]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert run_whole("report", produce, argv=argv) == 0 and not target.exists()
    monkeypatch.setenv("RANK", "0")
    assert run_whole("report", produce, argv=argv) == 0 and target.exists() and worlds == ["1"]


@pytest.mark.parametrize(("world", "rank"), [("2", ""), ("2", "2"), ("two", "0"), ("0", "0"), ("2", "-1")])
def test_variables_that_name_no_rank_are_a_usage_error(
    volume: Path, world: str, rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setenv("RANK", rank)
    assert run_topics("questions", lambda ctx: lambda topics: {}, argv=["--dataset", "synth", "--data-dir", str(volume), "--split", "train"]) == 2
    assert f"WORLD_SIZE={world}, RANK={rank}: expected a RANK from 0 to WORLD_SIZE - 1" in capsys.readouterr().err


def test_one_process_of_torchrun_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert this_rank() == Rank() and this_rank().alone


def test_a_line_that_a_kill_cut_short_costs_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "step.items.jsonl"
    path.write_bytes(b'{"topic": "Ada", "mark": "m"}\n{"topic": "B\xc3')  # half of a letter
    Journal(path, alone=False).add({"topic": "Cy\u2028", "mark": "m"})
    assert list(read_entries(path)) == ["Ada", "Cy\u2028"]
    Journal(path, alone=False).add({"topic": "Cy\u2028", "mark": "n", "failed": "why", "launch": "a"})
    assert list(read_entries(path)) == ["Ada"]
    assert read_failures(path, {"Cy\u2028": "n"}, "a") == {"Cy\u2028": "why"}
    assert read_failures(path, {"Cy\u2028": "m"}, "a") == {} == read_failures(path, {"Cy\u2028": "n"}, "b")
    assert list(Journal(path).entries) == ["Ada"] and path.read_text() == '{"topic": "Ada", "mark": "m"}\n'


def test_a_rank_on_a_terminal_writes_lines_and_draws_no_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, lines, now = Terminal(), [], 0.0
    with Progress("answers-train", 0, 4, lines.append, terminal, lambda: now, bar=False) as progress:
        now = 40.0
        progress.show(1)
    assert terminal.getvalue() == "" and lines == ["1 of 4 topics (25 %), 120 s left"]
