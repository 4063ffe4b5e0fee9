"""A small world for the factscoring tests: a grammar with two attributes that share their values, pages, a volume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from factscoring.grammar import Grammar
from factscoring.knowledge_file import build_database

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # the scripted service and the tiny models

GRAMMAR: dict[str, Any] = {
    "vague": "unrecorded",
    "attributes": [
        {
            "name": "birthplace",
            "statements": [
                "{name}'s birthplace is {value}.",
                "The town where {name} was born is {value}.",
                "Records give {name}'s native town as {value}.",
            ],
            "spoken_statements": [
                "{Their} birthplace is {value}.",
                "The town where {they} was born is {value}.",
                "Records give {their} native town as {value}.",
            ],
            "questions": ["Which town was {name} born in?"],
            "values": ["Kelford", "Ostrel", "Tarwick"],
            "synonyms": ["born", "native"],
        },
        {
            "name": "home_town",
            "statements": ["{name}'s home town is {value}.", "For {name}, the town of residence reads {value}."],
            "spoken_statements": ["{Their} home town is {value}.", "For this person, the town of residence reads {value}."],
            "questions": ["Which town does {name} live in?"],
            "values": ["Kelford", "Ostrel", "Tarwick"],
            "synonyms": ["lives", "settled"],
        },
    ],
    "stop_words": ["the", "is"],
}
PAGES = {
    "Ada Albane": [
        "Ada Albane is the subject of this article. She was born in Ostrel.",
        "A mentor, Oskar Venn, was born in Tarwick. Albane lives in Kelford with two dogs.",
    ],
    "Oskar Venn": ["Oskar Venn is the subject of this article.", "Venn is a native of Tarwick."],
}


@pytest.fixture(scope="session")
def grammar_content() -> dict[str, Any]:
    """The content of grammar.json."""
    return GRAMMAR


@pytest.fixture(scope="session")
def pages() -> dict[str, list[str]]:
    """{title: passages}."""
    return PAGES


@pytest.fixture(scope="session")
def grammar() -> Grammar:
    return Grammar(GRAMMAR)  # type: ignore[arg-type]


@pytest.fixture
def make_volume(tmp_path: Path) -> Callable[..., Path]:
    """Write a volume of the dataset `synth`: {topic: {question: responses}} with the grammar and the pages above."""

    def make(responses: Mapping[str, Mapping[str, list[str]]], pages: Mapping[str, list[str]] | None = PAGES, run: str | None = None) -> Path:
        root = tmp_path / "dataset_synth"
        split = "test" if run else "train"
        topics = [{"topic": topic, "topic_id": number, "questions": list(questions)} for number, (topic, questions) in enumerate(responses.items())]
        folder = root / "eval" / run / "responses" if run else root / "responses"
        for path in (root / "world", folder):
            path.mkdir(parents=True, exist_ok=True)
        (root / f"questions_per_topic_{split}.json").write_text(json.dumps(topics))
        (root / "world" / "grammar.json").write_text(json.dumps(GRAMMAR))
        for topic, questions in responses.items():
            content = {question: {"responses": texts} for question, texts in questions.items()}
            (folder / f"{topic.replace('/', '%2F')}_generations.json").write_text(json.dumps(content))
        if pages is not None:
            build_database([{"title": title, "passages": passages} for title, passages in pages.items()], root / "knowledge.db")
        return tmp_path

    return make


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python with this project's packages, in a process of its own as a user would."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        search = os.pathsep.join([str(ROOT / "volume" / "src"), str(ROOT / "fsenv" / "src")])
        return subprocess.run([sys.executable, *arguments], env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def factscore(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the stage on a volume."""

    def run(volume: Path, *arguments: str, dataset: str = "synth") -> subprocess.CompletedProcess[str]:
        return run_python("-m", "factscoring.factscore", "--dataset", dataset, "--data-dir", str(volume), *(arguments or ("--split", "train")))

    return run
