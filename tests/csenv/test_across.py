"""Several seeds together: means worked by hand, which draws seeds share, paired differences, and the command."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from confscoring import across
from confscoring.across import combine, draw_seeds, work_off
from confscoring.statistics import difference, draw_people, ratio
from volume.errors import RecordError, UsageError

COUNTS = ("responses", "facts", "words", "empty", "rated")


def summary(counts: dict[str, tuple[int, int]], seed: int = 0, run: str = "fs", **more: Any) -> Any:
    """Return a summary with (correct, incorrect) facts in one response to each topic."""
    right, wrong = ([pair[side] for pair in counts.values()] for side in (0, 1))
    facts = [a + b for a, b in counts.values()]
    sums = {"responses": [1] * len(facts), "facts": facts, "words": [5 * number for number in facts], "empty": [int(not number) for number in facts],
            "rated": [int(number > 0) for number in facts], "verifier_correct": right, "verifier_incorrect": wrong,
            "verifier_ratios": [round(1e9 * a / (a + b)) if a + b else 0 for a, b in counts.values()]}  # fmt: skip
    return {"dataset": "mine", "seed": seed, "run": run, "label": run.upper(), "split": "test", "judges": ["verifier"],
            "per_person": {"names": list(counts), "sums": {"sample": sums}}, **more}  # fmt: skip


def figures_of(found: dict[str, Any], judge: str = "verifier") -> dict[str, Any]:
    return found["decodings"]["sample"]["figures"][judge]  # type: ignore[no-any-return]


ONE = summary({"Ada": (3, 1), "Bo": (1, 1)})
TWO = summary({"Ada": (1, 1), "Bo": (2, 2)}, seed=1)
THREE = summary({"Cy": (4, 0), "Di": (0, 0)}, seed=2)


def test_a_figure_is_the_mean_of_the_seeds_own_which_are_given_too() -> None:
    found = combine([ONE, TWO, THREE], None, 200, 0)
    share, plain = figures_of(found)["percent_correct"], figures_of(found, "plain")
    assert share["seeds"] == [66.666667, 50.0, 100.0] and share["value"] == pytest.approx(72.222222)
    assert figures_of(found)["correct"]["seeds"] == [2.0, 1.5, 2.0] and figures_of(found)["correct"]["value"] == pytest.approx(5.5 / 3, abs=1e-6)
    assert figures_of(found)["incorrect"]["seeds"] == [1.0, 1.5, 0.0] and figures_of(found)["percent_correct_macro"]["seeds"] == [62.5, 50.0, 100.0]
    assert (plain["facts"]["seeds"], plain["words"]["seeds"], plain["empty"]["seeds"], plain["respond"]["seeds"]) == (
        [3.0, 3.0, 2.0], [15.0, 15.0, 10.0], [0.0, 0.0, 50.0], [100.0, 100.0, 50.0],
    )  # fmt: skip
    assert found["seeds"][1] == {"dataset": "mine", "seed": 1, "topics": 2} and (found["topics"], found["shared_topics"], found["reference"]) == (4, True, None)
    assert "difference" not in share and "tokens" not in plain


def test_one_seed_has_the_interval_of_its_own_evaluation() -> None:
    rng = random.Random(0)
    own = summary({f"topic {place}": (rng.randrange(9), rng.randrange(5)) for place in range(20)})
    sums = own["per_person"]["sums"]["sample"]
    expected = ratio(sums["verifier_correct"], sums["facts"], draw_people(20, 300, 7), 100.0)
    found = figures_of(combine([own], None, 300, 7))["percent_correct"]
    assert found == {**expected, "seeds": [expected["value"]]} and expected["low"] < expected["value"] < expected["high"]  # type: ignore[operator]
    other = summary(dict(zip(own["per_person"]["names"], [(rng.randrange(9), 3) for _ in range(20)], strict=True)), run="sft")["per_person"]["sums"]["sample"]
    sides = [(part["verifier_correct"], part["facts"]) for part in (sums, other)]
    reference: Any = {**own, "run": "sft", "per_person": {**own["per_person"], "sums": {"sample": other}}}
    change = difference(sides[0], sides[1], draw_people(20, 300, 7), 100.0)  # as the report has it
    assert figures_of(combine([own], [reference], 300, 7))["percent_correct"]["difference"] == {**change, "seeds": [change["value"]]}


def test_seeds_with_the_same_topics_share_the_draws_whatever_the_order_and_others_do_not() -> None:
    first, second = draw_seeds([["a", "b", "c"], ["c", "a", "b"]], 50, 0)
    assert (first == draw_people(3, 50, 0)).all() and (second == first[:, [2, 0, 1]]).all()
    apart = draw_seeds([["a", "b", "c"], ["d", "e", "f"]], 50, 0)
    assert (apart[0] == first).all() and (apart[1] != first).any()
    partly = draw_seeds([["a", "b"], ["b", "c"]], 50, 0)
    assert (partly[0][:, 1] == partly[1][:, 0]).all() and (np.asarray(partly[0]).sum(axis=1) != 2).any()  # of three topics in all


def correlated(seed: int, shift: int = 0) -> dict[str, tuple[int, int]]:
    """Return counts of which most depends on the topic: some are hard for every policy at every seed."""
    rng = random.Random(seed)
    return {f"topic {place}": (1 + place % 10 + rng.randrange(2) + shift, 11 - place % 10) for place in range(40)}


def test_pairing_by_topic_narrows_the_interval_of_a_difference() -> None:
    ours, theirs = ([summary(correlated(10 * seed + shift, shift), seed) for seed in range(3)] for shift in (1, 0))
    paired = figures_of(combine(ours, theirs, 1000, 0))["percent_correct"]
    alone = figures_of(combine(theirs, None, 1000, 1))["percent_correct"]
    width = {name: interval["high"] - interval["low"] for name, interval in (("paired", paired["difference"]), ("ours", paired), ("theirs", alone))}
    assert 4 * width["paired"] < (width["ours"] ** 2 + width["theirs"] ** 2) ** 0.5
    assert paired["difference"]["low"] > 0 and paired["difference"]["value"] == pytest.approx(paired["value"] - alone["value"], abs=2e-6)
    assert paired["difference"]["seeds"] == [pytest.approx(a - b, abs=2e-6) for a, b in zip(paired["seeds"], alone["seeds"], strict=True)]


def test_topics_that_seeds_share_leave_an_interval_as_wide_as_one_seed_s_and_other_topics_narrow_it() -> None:
    def width(*seeds: Any) -> float:
        found = figures_of(combine(seeds, None, 1000, 0))["percent_correct"]
        return float(found["high"] - found["low"])

    def renamed(seed: int) -> Any:
        return summary({f"{name} of {seed}": pair for name, pair in correlated(seed).items()}, seed)

    single = width(summary(correlated(0)))
    assert width(*(summary(correlated(seed), seed) for seed in range(3))) > 0.9 * single
    assert width(*(renamed(seed) for seed in range(3))) < 0.75 * single  # by the root of three


def test_a_difference_is_over_the_topics_that_both_runs_have() -> None:
    theirs = summary({"Bo": (0, 2), "Cy": (9, 0)}, run="sft")
    found = combine([ONE], [theirs], 50, 0)
    share = figures_of(found)["percent_correct"]
    assert share["value"] == 66.666667 and share["difference"] == {"value": 50.0, "low": 50.0, "high": 50.0, "seeds": [50.0]} and found["reference"] == "sft"


def test_a_second_judge_that_every_seed_has_is_among_the_figures_with_its_own_denominators() -> None:
    extra = {"strict_correct": [1, 0], "strict_incorrect": [3, 0], "strict_ratios": [250_000_000, 0], "strict_responses": [1, 0], "strict_facts": [4, 0],
             "strict_rated": [1, 0]}  # fmt: skip
    judged: Any = [{**own, "second_judges": {"strict": ["Bo"]}, "per_person": {**own["per_person"], "sums": {"sample": {**own["per_person"]["sums"]["sample"], **extra}}}}
              for own in (ONE, TWO)]  # fmt: skip
    assert figures_of(combine(judged, None, 20, 0), "strict")["percent_correct"]["seeds"] == [25.0, 25.0]
    assert "strict" not in combine([judged[0], TWO], None, 20, 0)["decodings"]["sample"]["figures"]


def write(folder: Path, **summaries: Any) -> dict[str, str]:
    for name, content in summaries.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return {name: str(folder / f"{name}.json") for name in summaries}


def test_the_command_works_off_a_job_and_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    paths = write(tmp_path, one=ONE, two=TWO, sft=summary({"Ada": (1, 3), "Bo": (1, 1)}, run="sft"), sft1=summary({"Ada": (0, 1), "Bo": (1, 1)}, 1, "sft"))
    job = {"runs": {"FS": [paths["one"], paths["two"]], "SFT": [paths["sft"]]}, "reference": {"FS": [paths["sft"], paths["sft1"]]}, "resamples": 100, "seed": 5}
    (tmp_path / "job.json").write_text(json.dumps(job))
    outputs = [tmp_path / name / "across.json" for name in ("a", "b")]
    for output in outputs:
        assert across.main(["--job", str(tmp_path / "job.json"), "--output", str(output)]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    found = json.loads(outputs[0].read_text())
    assert (found["format"], found["resamples"], found["seed"], list(found["runs"])) == (1, 100, 5, ["FS", "SFT"])
    assert figures_of(found["runs"]["FS"])["correct"]["difference"]["seeds"] == [1.0, 1.0] and "difference" not in figures_of(found["runs"]["SFT"])["correct"]


def test_a_job_that_cannot_be_meant_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = {**ONE, "per_person": {**ONE["per_person"], "names": ["Ada"]}}
    paths = write(tmp_path, one=ONE, two=TWO, other=summary({"Ada": (1, 1)}, run="sft"), far=summary({"Zed": (1, 1)}, run="sft"), broken=broken)
    for job, said in (
        ({"runs": {"FS": []}}, "names no summary"),
        ({"runs": {"FS": [paths["one"], paths["one"]]}}, "names a summary twice"),
        ({"runs": {"FS": [paths["one"], paths["other"]]}}, "different policies"),
        ({"runs": {"FS": [paths["one"]]}, "reference": {"sft": [paths["other"]]}}, "its runs do not"),
        ({"runs": {"FS": [paths["two"]]}, "reference": {"FS": [paths["other"]]}}, "has the seeds \\[1\\], its reference \\[0\\]"),
        ({"runs": {"FS": [paths["one"]]}, "reference": {"FS": [paths["far"]]}}, "no topic in common"),
        ({"runs": {"FS": [paths["one"]]}, "resamples": 0}, "expected 1 or more"),
        ({"runs": {"FS": [str(tmp_path / "none.json")]}}, "is missing"),
    ):
        with pytest.raises(UsageError, match=said):
            work_off(job)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="does not count every one of its 1 topics"):
        work_off({"runs": {"FS": [paths["broken"]]}})
    (tmp_path / "job.json").write_text('{"runs": {"FS": "one.json"}}')
    assert across.main(["--job", str(tmp_path / "job.json"), "--output", str(tmp_path / "out.json")]) == 1
    assert "expected a list" in capsys.readouterr().err and not (tmp_path / "out.json").exists()
