"""Scoring on its own: rows in, scored rows and four figures out, with no dataset."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from own_volume import stage_environment
from scripted_judges import answer
from scripted_service import ScriptedService

from factscoring.knowledge_file import build_database
from factscoring.score import score
from volume.errors import UsageError

PAGES = [
    {"title": "Ada Albane", "text": "Ada Albane was born in Kelford. She worked as a surveyor."},
    {"title": "Oskar Venn", "text": "Oskar Venn was born in Ostrel."},
]
ROWS = [
    {"topic": "Ada Albane", "text": "Ada Albane was born in Kelford. Ada Albane worked as a chemist."},
    {"topic": "Oskar Venn", "output": "Oskar Venn was born in Ostrel."},
    {"topic": "Oskar Venn", "output": "I'm sorry, I could not find any information about Oskar Venn."},
]
# FActScore's labelled form: the facts are given, whatever the text says; null annotations are an abstention.
LABELLED = [
    {
        "input": "Tell me a bio of Ada Albane.", "topic": "Ada Albane", "output": "Born in Kelford, a chemist.",
        "annotations": [{
            "text": "Born in Kelford, a chemist.", "is-relevant": True,
            "human-atomic-facts": [{"text": "Ada Albane was born in Kelford.", "label": "S"}],
            "model-atomic-facts": [{"text": "Ada Albane was born in Kelford."}, {"text": "Ada Albane worked as a chemist."}],
        }],
    },
    {"input": "Tell me a bio of Oskar Venn.", "topic": "Oskar Venn", "output": "No idea.", "annotations": None},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_database(PAGES, tmp_path / "pages.db")
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def command(folder: Path, *arguments: str, source: str = "answers.jsonl") -> list[str]:
    paths = ["--input", str(folder / source), "--output", str(folder / "scored.jsonl"), "--knowledge", str(folder / "pages.db")]
    return [sys.executable, "-m", "factscoring.score", *paths, *arguments]


def run(folder: Path, *arguments: str, source: str = "answers.jsonl") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *arguments, source=source), env=stage_environment(), cwd=folder, capture_output=True, text=True, check=False)


def scored(folder: Path) -> list[Any]:
    return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in (folder / "scored.jsonl").read_text().splitlines()]


def test_rows_of_topic_and_text_give_four_figures(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 0, done.stderr
    # Row 1: one of two facts, penalty exp(1 - 10 / 2); row 2: one of one, penalty exp(1 - 10); row 3 abstains.
    penalised = 100 * (0.5 * math.exp(-4) + math.exp(-9)) / 2
    assert done.stdout.splitlines() == [
        f"FActScore = {penalised:.1f}%", "FActScore w/o length penalty = 75.0%", "Respond ratio = 66.7%", "# Atomic facts per valid response = 1.5",
    ]  # fmt: skip
    first, second, third = scored(folder)
    assert [decision["is_supported"] for decision in first["decisions"][0]] == [True, False]
    assert second["init_score"] == 1.0 and third["abstained"] and third["init_score"] is None
    manifest = json.loads((folder / "scored.jsonl.manifest.json").read_text())
    assert manifest["figures"]["init_score"] == 0.75 and manifest["counts"]["abstained"] == 1
    assert manifest["evaluator"]["facts"] == "rules" and manifest["evaluator"]["verifier"] == "lexical" and len(manifest["evaluator"]["id"]) == 16


def test_factscores_labelled_form_is_scored_by_its_own_facts(folder: Path) -> None:
    (folder / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LABELLED))
    done = run(folder, source="labelled.jsonl")
    assert done.returncode == 0, done.stderr
    first, second = scored(folder)
    assert [(decision["atom"], decision["is_supported"]) for decision in first["decisions"][0]] == [
        ("Ada Albane was born in Kelford.", True), ("Ada Albane worked as a chemist.", False),
    ]  # fmt: skip
    assert second["abstained"] and "Respond ratio = 50.0%" in done.stdout


def test_a_row_that_fails_is_written_with_its_reason_and_is_in_no_figure(folder: Path) -> None:
    with (folder / "answers.jsonl").open("a") as file:
        file.write(json.dumps({"topic": "Ada Alban", "text": "Ada Alban was born in Kelford."}) + "\n")
    done = run(folder)
    assert done.returncode == 3 and "failed: row 4" in done.stderr and "w/o length penalty = 75.0%" in done.stdout
    assert "Nearest titles: 'Ada Albane'" in scored(folder)[3]["error"]
    assert run(folder, "--redirects", str(_redirects(folder))).returncode == 0
    assert scored(folder)[3]["init_score"] == 0.0  # "Ada Alban" is not how the page calls her


def _redirects(folder: Path) -> Path:
    path = folder / "redirects.json"
    path.write_text(json.dumps({"Ada Alban": "Ada Albane"}))
    return path


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 4 is not valid JSON"), ('{"text": "x"}', "row 4: 'topic' is None"), ('{"topic": "Ada Albane"}', "expected a text under one of"),
        ('{"topic": "Ada Albane", "text": 5}', "found 5"),
        ('{"topic": "Ada Albane", "text": "x", "annotations": [{"model-atomic-facts": [{}]}]}', "row 4 has 'annotations'"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_and_nothing_is_scored(folder: Path, line: str, said: str) -> None:
    with (folder / "answers.jsonl").open("a") as file:
        file.write(line + "\n")
    done = run(folder)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (folder / "scored.jsonl").exists()


def test_options_that_need_each_other_are_asked_for_all_at_once(folder: Path) -> None:
    done = run(folder, "--facts", "llm", "--verifier", "local", "--retrieval", "gtr")
    assert done.returncode == 2
    for option in ("--facts-model", "--verifier-model", "--retrieval-model"):
        assert option in done.stderr
    assert run(folder, "--facts", "given").returncode == 2
    assert run(folder, "--limit", "0").returncode == 2
    assert run(folder, source="nothing.jsonl").returncode == 2


def test_killed_half_way_it_goes_on_and_ends_with_the_same_bytes(folder: Path) -> None:
    rows = [{"topic": "Ada Albane", "text": f"Ada Albane was born in Kelford, and in {1900 + number} she moved to Tarwick."} for number in range(200)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with ScriptedService(answer, latency=0.01) as service:
        options = ["--facts", "llm", "--facts-model", "m", "--verifier", "llm", "--verifier-model", "m", "--base-url", service.url, "--in-flight", "8"]
        process = subprocess.Popen(command(folder, *options), env=stage_environment(), cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while len(service.calls) < 230:
            time.sleep(0.002)
        second = run(folder, *options)
        assert second.returncode == 1 and "is being written by another process" in second.stderr
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (folder / "scored.jsonl").exists() and (folder / ".scored.jsonl.rows.jsonl").exists()
        done = run(folder, *options)
        assert done.returncode == 0 and "rows are done already" in done.stderr, done.stderr
        assert sum(times - 1 for times in service.answered.values()) <= 8
        resumed = (folder / "scored.jsonl").read_bytes()
        (folder / "scored.jsonl").unlink()
        calls = len(service.calls)
        assert run(folder, *options, "--llm-mode", "replay").returncode == 0
        assert len(service.calls) == calls
    assert (folder / "scored.jsonl").read_bytes() == resumed and not (folder / ".scored.jsonl.rows.jsonl").exists()


def test_the_python_call_does_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    result = score(ROWS, knowledge=folder / "pages.db", gamma=1)
    assert result.figures == {"score": 0.75, "init_score": 0.75, "respond_ratio": pytest.approx(2 / 3), "num_facts_per_response": 1.5}
    assert not result.failures and result.records[0] is not None and len(result.records[0]["decisions"][0] or []) == 2
    failed = score([{"topic": "Nobody", "text": "x"}], knowledge=folder / "pages.db")
    assert failed.records == [None] and "no page titled 'Nobody'" in failed.failures[0] and failed.figures["init_score"] is None
    with pytest.raises(UsageError, match="missing"):
        score(ROWS, knowledge=folder / "none.db")
