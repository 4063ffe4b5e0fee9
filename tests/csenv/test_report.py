"""The report: its sentences, its drawings, and the whole page from a small volume."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest
from fake_volume import make_volume

from confscoring.judge import World
from confscoring.report_numbers import compare, fate_of_facts
from confscoring.report_rewards import count_pairs
from confscoring.report_svg import Box, place_labels, ticks
from confscoring.report_words import NBSP, fixed, headline, tone

VOID = {"meta", "br", "wbr", "link", "img", "hr"}


class Checked(html.parser.HTMLParser):
    """Collects what a page loads and fails on tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for key, value in attributes if key == "id"]
        self.loads += [value or "" for key, value in attributes if key in ("src", "href", "xlink:href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def stage(name: str, data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"confscoring.{name}", "--dataset", "synth", "--data-dir", str(data_dir), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the seven runs, about 24 people, evaluated and reported by the stages themselves."""
    data_dir = tmp_path_factory.mktemp("data")
    runs = ("base", "sft", "factscore")
    make_volume(data_dir, people=24, policies=runs)
    for run in runs:
        done = stage("evaluate", data_dir, "--run", run)
        assert done.returncode == 0, done.stderr
    done = stage("report", data_dir)
    assert done.returncode == 0, done.stderr
    return data_dir


def read(volume: Path) -> tuple[dict[str, Any], str]:
    folder = volume / "dataset_synth" / "report"
    return json.loads((folder / "summary.json").read_text()), (folder / "index.html").read_text()


def test_the_page_is_well_formed_loads_nothing_and_is_small(volume: Path) -> None:
    _, page = read(volume)
    checked = Checked()
    checked.feed(page)
    assert checked.open == []
    assert checked.loads == ["../cost.html", "https://arxiv.org/abs/2311.08401"]
    assert not checked.tags & {"script", "link", "img", "iframe"}
    assert "url(" not in page and "@import" not in page
    assert len(checked.ids) == len(set(checked.ids))
    assert len(page.encode()) < 400_000


def test_every_run_is_on_the_page_and_those_not_run_are_said_to_be(volume: Path) -> None:
    numbers, page = read(volume)
    for run in numbers["runs"]:
        assert (run["label"].split(" (")[0] in page) != run["extra"]
    assert "Not run: FactTune-MC (max confidence), FactTune-EC" in page
    assert "7 further policies are defined and not made: <code>RUNS=all</code>." in page
    assert "The random control has not been run" in page
    assert [check["status"] for check in numbers["checks"] if check["name"] == "Random control"] == ["unknown"]


def test_every_drawing_has_a_title_and_a_description(volume: Path) -> None:
    _, page = read(volume)
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 7
    assert all(re.search(r'role="img" aria-labelledby="(\S+) (\S+)".*<title id="\1">.+</title><desc id="\2">.+</desc>', drawing) for drawing in drawings)


def test_the_headline_says_what_the_summary_holds(volume: Path) -> None:
    numbers, page = read(volume)
    runs = {run["name"]: run for run in numbers["runs"]}
    after, before = (runs[name]["decodings"]["sample"]["figures"]["truth"]["percent_correct"]["value"] for name in ("factscore", "sft"))
    change = runs["factscore"]["versus_reference"]["decodings"]["sample"]["truth"]["percent_correct"]
    assert change["value"] == pytest.approx(after - before, abs=1e-5) and change["low"] > 0
    assert numbers["headline"]["title"] == f"FactTune-FS worked: {after:.1f}{NBSP}% of the facts it states are correct, against {before:.1f}{NBSP}% for SFT"
    assert f"+{change['value']:.1f} points" in page


def test_confidence_against_correctness_is_on_the_page_as_in_the_summary(volume: Path) -> None:
    numbers, page = read(volume)
    found = numbers["confidence"]
    lines = [json.loads(line) for line in next((volume / "dataset_synth" / "rewards").glob("confidences_train_*")).read_text().splitlines()]
    assert found["claims"] == sum(line["kind"] == "claim" for line in lines) and found["left_out"] == {"unparsed": len(lines) - found["claims"]}
    assert found["against"] == "truth" and sum(tier["claims"] for tier in found["tiers"]) == found["claims"]
    within = {name: metric["auroc_within_prompts"]["value"] for name, metric in found["metrics"].items()}
    worst = min(within, key=lambda name: within[name])
    assert max(within, key=lambda name: within[name]) == "samp_conf" and within["samp_conf"] > 0.8
    assert f"<code>samp_conf</code> is higher for the correct one in {100 * within['samp_conf']:.0f}{NBSP}%" in page
    assert f"<code>{worst}</code> in {100 * within[worst]:.0f}{NBSP}%." in page
    assert f"left out: {found['left_out']['unparsed']} that could not be read" in page
    assert f"{found['metrics']['max_conf']['calibration_error']:.3f}" in page
    assert [row["claims"] for row in found["metrics"]["samp_conf"]["reliability"]] and page.count('aria-labelledby="reliability-') == 4


def test_every_reward_has_its_histogram_its_ties_and_its_agreement_with_the_others(volume: Path) -> None:
    numbers, page = read(volume)
    names = numbers["reward_agreement"]["rewards"]
    assert names == [row["reward"] for row in numbers["reward_values"]] == [row["reward"] for row in numbers["pairs"]["train"]]
    assert all(f'aria-labelledby="values-{name}-t' in page for name in names)
    assert page.count('class="agree"') + page.count('class="differ"') == len(names) * (len(names) - 1) // 2
    control = numbers["reward_agreement"]["same"][names.index("random")]
    assert all(40 < share < 60 for name, share in zip(names, control, strict=True) if name != "random")
    assert all(row["ties_percent"] == pytest.approx(100 * row["ties"] / (row["ties"] + row["pairs"])) for row in numbers["pairs"]["train"])


def test_a_volume_without_the_confidence_of_single_facts_says_so_and_keeps_the_rest(volume: Path, tmp_path: Path) -> None:
    shutil.copytree(volume, tmp_path / "data")
    for path in (tmp_path / "data" / "dataset_synth" / "rewards").glob("confidences_*"):
        path.unlink()
    done = stage("report", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    numbers, page = read(tmp_path / "data")
    assert numbers["confidence"] is None and "Not shown: confidence in single claims" in page and "AUROC" not in page
    assert "Training pairs" in page and "Agreement between rewards" in page


def test_three_people_are_shown_with_their_claims_marked(volume: Path) -> None:
    _, page = read(volume)
    assert page.count("<article>") == 3
    assert page.count('<div class="bio">') == 6
    assert '<span class="fact correct" tabindex="0"' in page and '<span class="fact incorrect" tabindex="0"' in page and '<span class="vague">' in page


def test_running_again_writes_the_same_bytes_and_another_folder_too(volume: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(volume, copy)
    shutil.rmtree(copy / "dataset_synth" / "report")
    done = stage("report", copy)
    assert done.returncode == 0, done.stderr
    for name in ("index.html", "summary.json", "scatter.svg"):
        assert (copy / "dataset_synth" / "report" / name).read_bytes() == (volume / "dataset_synth" / "report" / name).read_bytes()


def test_the_scatter_is_a_file_that_stands_alone(volume: Path) -> None:
    content = (volume / "dataset_synth" / "report" / "scatter.svg").read_text()
    root = xml.etree.ElementTree.fromstring(content)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme: dark" in content and "@import" not in content and "url(" not in content and "href" not in content
    words = " ".join(element.text or "" for element in root.iter() if element.tag.endswith("text"))
    assert all(label in words for label in ("Base model", "SFT", "FactTune-FS"))


def test_sft_alone_makes_a_page_that_says_what_is_missing(volume: Path, tmp_path: Path) -> None:
    shutil.copytree(volume, tmp_path / "data")
    for run in ("base", "factscore"):
        shutil.rmtree(tmp_path / "data" / "dataset_synth" / "eval" / run)
    for folder in ("rewards", "runs"):
        shutil.rmtree(tmp_path / "data" / "dataset_synth" / folder)
    done = stage("report", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    numbers, page = read(tmp_path / "data")
    assert numbers["headline"]["title"].startswith("Not enough runs") and "Still missing: a preference-tuned policy." in page
    checked = Checked()
    checked.feed(page)
    assert checked.open == []


def test_nothing_evaluated_is_a_usage_error(tmp_path: Path) -> None:
    done = stage("report", tmp_path)
    assert done.returncode == 2 and "make eval" in done.stderr


def interval(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def numbers_with(change: dict[str, float], control: dict[str, float], correct: dict[str, float]) -> dict[str, Any]:
    """Return the least that a headline needs."""
    figures = {
        "truth": {"percent_correct": interval(60, 55, 65), "correct": interval(2, 1, 3), "incorrect": interval(1, 0, 2)},
        "plain": {"vague_share": interval(50, 45, 55)},
    }

    def run(name: str, label: str, difference: dict[str, float] | None) -> dict[str, Any]:
        row: dict[str, Any] = {"name": name, "label": label, "present": True, "decodings": {"sample": {"figures": figures}}}
        if difference is not None:
            row["reference"] = "sft"
            row["versus_reference"] = {
                "people": 9, "decodings": {"sample": {"truth": {"percent_correct": difference}, "plain": {"vague_share": interval(0, -1, 1)}}},
                "relative": {"sample": {"truth": {"correct": correct, "incorrect": interval(-40, -50, -30)}}},
            }  # fmt: skip
        return row

    runs = [run("sft", "SFT", None), run("fs", "FactTune-FS", change), run("random", "Random preferences (control)", control)]
    return {"judge": "truth", "roles": {"reference": "sft", "main": "fs", "control": "random", "base": None}, "runs": runs}


def test_absent_and_negative_effects_are_said_as_plainly_as_good_ones() -> None:
    flat, up, down = interval(0.4, -1, 2), interval(9, 5, 13), interval(-4, -7, -1)
    assert "shows no clear effect" in headline(numbers_with(flat, flat, flat))["title"]
    assert "helped a little" in headline(numbers_with(interval(2.3, 0.6, 4), flat, flat))["title"]
    assert "made it worse" in headline(numbers_with(down, flat, flat))["title"]
    good = headline(numbers_with(up, flat, interval(-20, -25, -15)))
    assert "worked" in good["title"]
    assert "40\u00a0% fewer incorrect facts, 20\u00a0% fewer correct ones: the price." in good["text"]
    assert "shows no clear change: +0.4 points" in good["text"]
    assert "no clear change in correct ones (0\u00a0%," in headline(numbers_with(up, flat, interval(0.4, -1, 2)))["text"]
    assert [tile["tone"] for tile in good["tiles"]] == ["good", "good", "bad", "neutral"]


def test_a_control_that_gains_too_is_held_against_the_result() -> None:
    found = headline(numbers_with(interval(9, 5, 13), interval(4, 2, 6), interval(0, -1, 1)))
    assert "The random control gains as well, +4.0 points" in found["text"] and "not due to the scores" in found["text"]
    assert found["tiles"][-1]["tone"] == "bad"


def test_numbers_are_written_with_a_true_minus_and_no_minus_zero() -> None:
    assert [fixed(-1.25), fixed(-0.04), fixed(2, 1, True), fixed(None)] == ["−1.2", "0.0", "+2.0", "–"]
    assert [tone(interval(1, 0.5, 2), -1), tone(interval(1, -1, 2), 1), tone(None, 1)] == ["bad", "neutral", "neutral"]


def test_pairs_need_a_gap_and_responses_without_a_reward_take_part_in_none() -> None:
    rewards = {"Ada": {"Who?": {"responses": ["a b c", "a", "a b", "a"], "good": [0.1 + 0.2, 0.3, 1.0, None]}}}
    # 0.1 + 0.2 and 0.3 are a tie but for noise; 1.0 beats both: words 2 against 3 and 1, gap 0.7 twice.
    assert count_pairs(rewards, 0.0) == [
        {
            "reward": "good",
            "prompts": 1,
            "responses": 4,
            "without_reward": 1,
            "pairs": 2,
            "ties": 1,
            "ties_percent": 33.333333,
            "mean_gap": 0.7,
            "chosen_longer": 50.0,
            "words_chosen_minus_rejected": 0.0,
        }
    ]
    assert count_pairs(rewards, 0.8)[0]["pairs"] == 0


def summary_of(names: list[str], correct: list[int], facts: list[int], known: list[int]) -> dict[str, Any]:
    sums = {"truth_correct": correct, "facts": facts, "responses": [1] * len(names)}
    cells = {"field": {"correct": correct, "incorrect": [f - c for f, c in zip(facts, correct, strict=True)], "vague": [0] * len(names)}}
    return {
        "judges": ["truth"],
        "decodings": {"sample": {}},
        "per_person": {"names": names, "sums": {"sample": sums}, "cells": {"sample": cells}, "closed_book": {"field": known}},
    }


def test_runs_are_compared_over_the_people_that_both_have_whatever_their_order() -> None:
    ours = summary_of(["Ada", "Bo", "Cy"], [1, 0, 1], [1, 1, 1], [1, 0, 1])
    theirs = summary_of(["Cy", "Ada"], [0, 1], [1, 1], [1, 0])
    found = compare(ours, theirs, 100, 0)
    assert found["people"] == 2
    assert found["decodings"]["sample"]["truth"]["percent_correct"]["value"] == 50.0  # 2 of 2 against 1 of 2
    assert found["closed_book"]["value"] == 50.0


def test_where_facts_went_is_split_by_what_the_base_model_knows() -> None:
    person = {"tier": 0, "facts": {"field": "law"}, "exposure": {"field": 50}, "in_knowledge": []}
    world = World(["field"], ["all"], {name: {"name": name, **person} for name in ("Ada", "Bo")})
    summary = summary_of(["Ada", "Bo"], [1, 0], [1, 1], [1, 0])
    known, unknown = fate_of_facts(world, {"sft": summary}, summary)["known"]
    assert known["runs"]["sft"] == {"correct": 100.0, "incorrect": 0.0, "vague": 0.0, "percent_correct": 100.0} and known["slots"] == 1
    assert unknown["runs"]["sft"]["incorrect"] == 100.0
    assert [row["group"] for row in fate_of_facts(world, {"sft": summary}, None)["exposure"]] == ["30 to 99 times"]


def test_axis_ticks_are_round_and_labels_of_near_points_do_not_cover_each_other() -> None:
    assert ticks(2.9) == [0.0, 1.0, 2.0] and ticks(1.0, wanted=5) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    points = [(100.0, 100.0), (104.0, 101.0), (101.0, 104.0)]
    labels = ["first", "second", "third"]
    boxes = []
    for label, (x, y, anchor) in zip(labels, place_labels(points, labels, Box(0, 0, 300, 200), []), strict=True):
        width = 7 * len(label)
        left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
        boxes.append(Box(left, y - 9, left + width, y + 2))
    assert not any(a.overlap(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("pronouns", [True, False])
def test_a_dataset_without_a_known_truth_is_judged_by_the_verifier(volume: Path, tmp_path: Path, pronouns: bool) -> None:
    """The same files as another dataset would have them: no world, no closed-book questions; or topics that are no people."""
    definition = tmp_path / "mine.toml"
    definition.write_text(
        'description = "a few"\nsplits = ["train", "test"]\n[runs.sft]\nkind = "sft"\nlabel = "SFT"\n'
        '[runs.factscore]\nlabel = "FactTune-FS"\nreward = "factscore_avg"\n[eval]\nbootstrap = 100\n'
    )
    root = tmp_path / "dataset_mine"
    for run in ("sft", "factscore"):
        shutil.copytree(volume / "dataset_synth" / "eval" / run, root / "eval" / run, ignore=shutil.ignore_patterns("summary.json", "closed_book.json"))
    shutil.copytree(volume / "dataset_synth" / "rewards", root / "rewards")
    topics = json.loads((volume / "dataset_synth" / "questions_per_topic_test.json").read_text())
    kept = [{key: value for key, value in topic.items() if pronouns or key != "pronoun"} for topic in topics]
    (root / "questions_per_topic_test.json").write_text(json.dumps(kept))
    for name, arguments in (("evaluate", ["--run", "sft"]), ("evaluate", ["--run", "factscore"]), ("report", [])):
        command = [sys.executable, "-m", f"confscoring.{name}", "--dataset", str(definition), "--data-dir", str(tmp_path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    page = (root / "report" / "index.html").read_text()
    checked = Checked()
    checked.feed(page)
    assert checked.open == []
    assert "judged by the verifier (this dataset has no known truth)" in page
    assert "against the verifier’s verdict (this dataset has no known truth)" in page and "by exposure tier" not in page
    assert "Where the falsehoods went" not in page and "invented" not in checked.text
    text, words = checked.text, "people" if pronouns else "topics"
    assert f"{len(topics)} {words} of the split “test”" in text and f"bootstrap over {words}" in text and f"over {len(topics)} {words} that" in text
    assert ("per person" in text) == pronouns and (pronouns or not re.search(r"\b(people|person)\b", text))
