"""A verdict says whether our interval has the printed share in it, and names all that makes ours another experiment."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from confscoring.across import main as combine_seeds
from volume import paper
from volume.datasets import as_json, load_definition
from volume.experiments import Cell, Row
from volume.files import write_json
from volume.paper_table import Figure, Line, Ours, as_csv, as_value, decide, describe_notes, find_changes, fixed, interval, read_ours, render

TOY = str(Path(__file__).resolve().parents[1] / "fixtures" / "toy.toml")
ROW = Row("llama1-fs", "llama1", "FactTune-FS")
MICRO = Cell(15.0, 5.0, 0.75)  # 15 / 20
MACRO = Cell(15.0, 5.0, 0.80)


def ours(micro: tuple[float, float, float], macro: tuple[float, float, float] = (0, 0, 0), **changes: str) -> Ours:
    figures = {"percent_correct": Figure(*micro), "percent_correct_macro": Figure(*macro), "correct": Figure(15.2, 14.0, 16.0), "incorrect": Figure(4.0, 3.0, 4.5)}
    return Ours("verifier", {"verifier": figures}, {"verifier": {"percent_correct": Figure(3.0, 1.0, 5.0)}}, (0, 1), changes)


@pytest.mark.parametrize(("low", "high", "verdict"), [(74, 76, "within"), (75, 76, "within"), (75.1, 76, "outside"), (70, 74.9, "outside")])
def test_an_interval_has_the_printed_share_in_it_or_not(low: float, high: float, verdict: str) -> None:
    assert decide(ROW, MICRO, ours((75.5, low, high))) == verdict


def test_a_share_that_is_a_mean_of_shares_is_compared_with_ours_of_that_kind() -> None:
    assert decide(ROW, MACRO, ours((80, 79, 81), (70, 69, 71))) == "outside"
    assert decide(ROW, MACRO, ours((70, 69, 71), (80, 79, 81))) == "within"


def test_what_differs_is_named_beside_the_verdict() -> None:
    row = Row("llama1-iti", "llama1", "ITI", deviates=("iti",))
    assert decide(row, MICRO, ours((75, 74, 76), verifier="another")) == "deviated, within: verifier, iti"
    assert decide(row, MICRO, ours((85, 84, 86))) == "deviated, outside: iti"


def test_what_was_not_run_has_no_verdict_and_a_figure_without_interval_none_either() -> None:
    assert decide(ROW, MICRO, None) == "not run"
    assert decide(ROW, MICRO, Ours("verifier", {"verifier": {"percent_correct": Figure(75.0)}})) == "no interval"


def test_changes_are_what_changes_figures() -> None:
    pinned = as_json(load_definition("bio"))
    assert find_changes(pinned, pinned) == {}
    idle = json.loads(json.dumps(pinned))
    idle["seed"], idle["sft"]["zero_stage"], idle["responses"]["batch_rows"] = 2, 3, 8
    assert find_changes(pinned, idle) == {}
    other = json.loads(json.dumps(pinned))
    other["verifier"]["backend"], other["facts"]["model"], other["models"]["llama1"]["path"], other["dpo"]["beta"] = "llm", "mine", "models/tiny", 0.5
    found = find_changes(pinned, other)
    assert set(found) == {"verifier", "LLM", "model", "training"}
    assert found["training"] == "dpo.beta is 0.5, not 0.1"
    elsewhere = json.loads(json.dumps(pinned))
    elsewhere["llm"]["base_url"] = "http://localhost:8000/v1"
    assert set(find_changes(pinned, elsewhere)) == {"LLM"}


def test_a_section_that_is_new_or_gone_is_a_change() -> None:
    pinned = as_json(load_definition("medqa"))
    other = {**pinned, "relevance": None}
    assert set(find_changes(pinned, other)) == {"judge"}


def test_numbers_are_short_and_no_zero_has_a_sign() -> None:
    assert (fixed(None), fixed(-0.04), fixed(1.25, 1, signed=True), fixed(-2.0)) == ("–", "0.0", "+1.2", "−2.0")
    assert interval(Figure(3.0, -1.0, 5.0), signed=True) == "+3.0 [−1.0, +5.0]"


def test_the_table_stands_in_line_and_has_the_papers_numbers() -> None:
    text = render([Line(ROW, "bio", MICRO, ours((75, 74, 76))), Line(ROW, "medqa", MACRO, None)])
    first, rule, *rows = text.splitlines()
    assert len({len(line) for line in (first, rule, *rows)}) == 1
    assert [cell.strip() for cell in rows[0].split("|")][3:9] == ["bio", "15.00", "5.00", "75.0 micro", "15.20", "4.00"]
    assert "+3.0 [+1.0, +5.0]" in rows[0] and rows[0].rstrip(" |").endswith("within")
    assert "80.0 macro" in rows[1] and rows[1].rstrip(" |").endswith("not run")


def test_the_csv_and_the_json_have_every_number() -> None:
    lines = [Line(ROW, "bio", MICRO, ours((75, 74, 76)))]
    (line,) = csv.DictReader(io.StringIO(as_csv(lines)))
    assert (line["paper_share"], line["percent_correct_low"], line["difference_percent_correct_high"], line["verdict"]) == ("0.75", "74", "5.0", "within")
    (value,) = as_value(lines)
    assert value["covers"] == {"correct": True, "incorrect": False, "percent_correct": True}


def test_notes_are_told_once_and_of_what_was_run() -> None:
    row = Row("a", "", "A", deviates=("iti",))
    lines = [Line(row, "bio", MICRO, ours((75, 74, 76), model="a tiny one")), Line(row, "medqa", MICRO, ours((75, 74, 76)))]
    lines.append(Line(Row("b", "", "B", deviates=("base",)), "bio", MICRO, None))
    assert describe_notes(lines, {"iti": "no settings", "base": "not said"}) == ["- iti: no settings", "- model: a tiny one"]


def summary(run: str, seed: int, correct: list[int], facts: list[int]) -> dict[str, Any]:
    sums = {
        "responses": [1] * len(facts), "facts": facts, "rated": [1] * len(facts), "words": [9] * len(facts), "empty": [0] * len(facts),
        "verifier_correct": correct, "verifier_incorrect": [f - c for f, c in zip(facts, correct, strict=True)],
        "verifier_ratios": [round(10**9 * c / f) for f, c in zip(facts, correct, strict=True)],
    }  # fmt: skip
    return {
        "dataset": f"bio{seed}", "seed": seed, "run": run, "label": run, "split": "test", "judges": ["verifier"], "second_judges": {},
        "per_person": {"names": [f"p{index}" for index in range(len(facts))], "sums": {"sample": sums}},
    }  # fmt: skip


def place(data_dir: Path, dataset: str, run: str, seed: int, correct: list[int], limit: int | None = None, stack: str = "paper") -> None:
    """Put a run's evaluation on a volume, as if the pipeline had made it."""
    definition = load_definition(dataset, seed)
    root = data_dir / f"dataset_{definition.name}"
    write_json(root / "eval" / run / "summary.json", summary(run, seed, correct, [10, 10, 10]))
    for step in (f"eval-{run}", f"eval-responses-{run}"):
        settings = {"limit": limit} if limit and "responses" in step else {}
        write_json(root / "manifests" / f"{step}.json", {
            "format": 1, "step": step, "command": ["x"], "status": "complete", "counts": {}, "failures": {}, "fingerprint": "0", "outputs": {}, "seconds": 1,
            "depends_on": {"settings": settings, "code": "0", "lock": "0", "inputs": {}}, "definition": as_json(definition), "environment": {"stack": stack},
        })  # fmt: skip


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Combine the seeds in this process: environments of their own are the pipeline's tests' business."""

    def compute(data_dir: Path) -> Any:
        monkeypatch.chdir(data_dir / "paper")
        assert combine_seeds(["--job", "job.json", "--output", "across.json"]) == 0
        return json.loads((data_dir / "paper" / "across.json").read_text())

    monkeypatch.setattr(paper, "_compute", compute)
    monkeypatch.setattr(paper, "_ages", lambda world: {})


@pytest.mark.usefixtures("here")
def test_no_run_shows_what_there_is_over_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        place(tmp_path, "bio", "sft", seed, [6, 6, 6], limit=3)
        place(tmp_path, "bio", "factscore", seed, [8 + seed, 8, 8], limit=3, stack="current")
    assert paper.main(["--table", "2", "--rows", "llama1", "--data-dir", str(tmp_path), "--no-run"]) == 0
    found = {(row["name"], row["dataset"]): row for row in json.loads((tmp_path / "paper" / "table2.json").read_text())["rows"]}
    tuned = found["llama1-fs", "bio"]
    assert tuned["ours"]["seeds"] == [0, 1]
    micro = tuned["ours"]["figures"]["verifier"]["percent_correct"]
    assert micro["seeds"] == pytest.approx([80.0, 250 / 3])  # 24 and 25 of 30
    assert micro["value"] == pytest.approx(245 / 3)
    assert tuned["ours"]["differences"]["verifier"]["percent_correct"]["value"] == pytest.approx(245 / 3 - 60)
    assert tuned["verdict"].startswith("deviated, within: stack=current, LIMIT=3, ")
    assert found["llama1-fs", "medqa"]["verdict"] == found["llama1-iti", "bio"]["verdict"] == "not run"
    assert found["llama1-sft", "bio"]["ours"]["differences"]["verifier"] == {}  # it is what the others are compared with
    out = capsys.readouterr().out
    assert out.startswith("\n# Table 2 of arXiv 2311.08401v1") and "- LIMIT=3: only so many topics" in out
    assert {path.suffix for path in (tmp_path / "paper").glob("table2.*")} == {".md", ".csv", ".json"}


@pytest.mark.usefixtures("here")
def test_a_difference_needs_the_reference_of_every_seed(tmp_path: Path) -> None:
    place(tmp_path, "bio", "sft", 0, [6, 6, 6])
    for seed in (0, 1):
        place(tmp_path, "bio", "factscore", seed, [8, 8, 8])
    assert paper.main(["--table", "2", "--rows", "llama1-fs", "--data-dir", str(tmp_path), "--no-run"]) == 0
    (tuned, _) = json.loads((tmp_path / "paper" / "table2.json").read_text())["rows"]
    assert tuned["ours"]["seeds"] == [0, 1] and tuned["ours"]["differences"]["verifier"] == {}


@pytest.mark.usefixtures("here")
def test_a_table_of_methods_of_a_small_dataset_has_a_drawing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, correct in (("sft", [6, 6, 6]), ("factscore", [9, 8, 8])):
        place(tmp_path, TOY, run, 0, correct)
    assert paper.main(["--dataset", TOY, "--data-dir", str(tmp_path), "--seeds", "1", "--no-run"]) == 0
    assert (tmp_path / "paper" / "toy.svg").read_text().startswith("<svg")
    out = capsys.readouterr().out
    assert "83.3" in out and "not run" in out and "Not in its definition: " in out


def test_what_is_missing_is_listed_once_and_the_table_comes_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY_FILE", raising=False)
    assert paper.main(["--table", "2", "--rows", "llama1-fs", "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err.count("model 'llama1' in models/llama-7b") == 1
    assert "Missing for 'bio, bio-seed1, bio-seed2, medqa" in said.err
    assert "not run" in said.out and (tmp_path / "paper" / "table2.md").is_file()


@pytest.mark.parametrize(("words", "message"), [
    (["--table", "9"], "TABLE=9: the paper's tables"), (["--rows", "llama2"], "ROWS=llama2: no row 'llama2'"), (["--seeds", "9"], "SEEDS=9: expected 1 to 3"),
    (["--runs", "sft"], "RUNS=sft: a table is chosen by its rows: ROWS=sft"), (["--table", "2", "--dataset", "synth"], "DATASET=synth: these rows are about"),
])  # fmt: skip
def test_a_wrong_word_is_one_message(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paper.main([*words, "--data-dir", str(tmp_path), "--no-run"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not (tmp_path / "paper").exists()


def test_a_run_without_sampled_responses_is_not_run() -> None:
    assert read_ours({"decodings": {}}, (0,), {}) is None
