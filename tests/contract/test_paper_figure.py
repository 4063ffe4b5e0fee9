"""The drawing of the methods is well-formed, its marks lie where the numbers say, and its text is text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from volume.experiments import Row
from volume.paper_figures import draw_methods
from volume.paper_table import Figure, Line, Ours

SVG = "{http://www.w3.org/2000/svg}"


def line(name: str, value: float, gain: float | None, label: str = "") -> Line:
    figures = {"percent_correct": Figure(value, value - 2, value + 2, (value - 1, value + 1)), "correct": Figure(3.0), "incorrect": Figure(1.5)}
    differences = {} if gain is None else {"truth": {"percent_correct": Figure(gain, gain - 1, gain + 1)}}
    return Line(Row(name, "", label or name), "synth", None, Ours("truth", {"truth": figures}, differences, (0, 1)))


NOT_RUN = Line(Row("iti", "", "ITI on SFT"), "synth", None, None)
LINES = [line("sft", 70, None, "SFT"), line("random", 66, -4, "Random <&> preferences"), line("factscore", 77, 7), NOT_RUN]


def drawn() -> ElementTree.Element:
    return ElementTree.fromstring(draw_methods(LINES, "sft", "random"))


def test_it_is_xml_with_a_title_and_the_numbers_in_words() -> None:
    root = drawn()
    assert root.findtext(f"{SVG}title") == "1 of 2 methods surpass SFT in per cent correct"
    told = root.findtext(f"{SVG}desc")
    assert told and "Random <&> preferences: 66.0 % correct, 3.00 correct and 1.50 incorrect" in told


def test_every_label_is_text_the_control_is_named_and_what_was_not_run_says_so() -> None:
    texts = [element.text for element in drawn().iter(f"{SVG}text")]
    assert {"SFT", "Random <&> preferences (control)", "factscore", "ITI on SFT", "not run", "77.0", "3.00", "1.50"} <= set(texts)


def test_marks_lie_where_the_numbers_say() -> None:
    root = drawn()
    # From 60 to 80 per cent over 324 pixels, from 28 on.
    def at(share: float) -> float:
        return 28 + 324 * (share - 60) / 20

    dots = {element.get("class"): float(element.get("cx", "0")) for element in root.iter(f"{SVG}circle")}
    assert abs(dots["good"] - at(77)) < 0.1 and abs(dots["hollow"] - at(70)) < 0.1
    spans = [(float(element.get("x1", "0")), float(element.get("x2", "0"))) for element in root.iter(f"{SVG}line") if element.get("class") == "span"]
    assert any(abs(left - at(75)) < 0.1 and abs(right - at(79)) < 0.1 for left, right in spans)
    seeds = sorted(float(element.get("x1", "0")) for element in root.iter(f"{SVG}line") if element.get("class") == "seed")
    assert len(seeds) == 6 and abs(seeds[-1] - at(78)) < 0.1
    (dashed,) = [float(element.get("x1", "0")) for element in root.iter(f"{SVG}line") if element.get("class") == "axis"]
    assert abs(dashed - at(70)) < 0.1


def test_bars_are_as_long_as_their_facts() -> None:
    wide = {(element.get("class"), float(element.get("width", "0"))) for element in drawn().iter(f"{SVG}rect") if element.get("height") == "13"}
    assert wide == {("good", 138.0), ("bad", 69.0)}


def test_nothing_leaves_the_paper() -> None:
    root = drawn()
    width, height = (float(number) for number in root.get("viewBox", "").split()[2:])
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(name, "0")) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(name, "0")) <= height
    for text in root.iter(f"{SVG}text"):  # so wide is an average letter of a wide face
        size = 18 if text.get("class") == "title" else 13 if "s" in (text.get("class") or "").split() else 15
        if text.get("text-anchor") == "start":
            assert float(text.get("x", "0")) + 0.62 * size * len(text.text or "") <= width, text.text


def test_without_any_run_it_is_still_a_drawing() -> None:
    root = ElementTree.fromstring(draw_methods([Line(Row("sft", "", "SFT"), "synth", None, None)], "sft"))
    assert root.findtext(f"{SVG}title") == "Share of correct facts, by method"


def test_the_same_numbers_give_the_same_bytes_without_script_or_link() -> None:
    text = draw_methods(LINES, "sft", "random")
    assert text == draw_methods(LINES, "sft", "random")
    assert not re.search(r"<script|href|url\(", text)
