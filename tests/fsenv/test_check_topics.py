"""The checker of topics, on a tiny knowledge base: what has no page, what is one page, whom a few-shot example names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from own_volume import stage_environment

from factscoring.check_topics import nearest_in
from factscoring.knowledge_file import build_database
from volume.files import write_json

PAGES = ("Ada Albane", "Oskar Venn", "Marit Oslund", "Pim Holt (painter)", "Bo Krey")
DEFINITION = 'name = "mine"\ndescription = "a few people"\nsplits = ["train", "test"]\n'


def write_volume(folder: Path, *topics: str, prefix: str = "", redirects: dict[str, str] | None = None, listed: bool = True) -> Path:
    """Write pages, a list and a definition; return the volume."""
    build_database([{"title": title, "text": f"{title} was a surveyor."} for title in PAGES], folder / "knowledge" / "mine.db")
    (folder / "mine.csv").write_text("topic\n" + "".join(f"{topic}\n" for topic in topics))
    led = ""
    if redirects:
        write_json(folder / "knowledge" / "other.json", redirects)
        led = 'redirects = "knowledge/other.json"\n'
    (folder / "mine.toml").write_text(
        DEFINITION + '[models.m]\npath = "m"\n[knowledge]\npath = "knowledge/mine.db"\n' + led
        + ('[topics]\npath = "mine.csv"\nprompt = "Who is {topic}?"\n' if listed else "")
        + f'[responses]\nmodel = "m"\nn = 2\nmax_new_tokens = 9\nprefix = {json.dumps(prefix)}\n'
    )
    return folder


def check(volume: Path, dataset: str = "") -> subprocess.CompletedProcess[str]:
    """Run the checker."""
    command = [sys.executable, "-m", "factscoring.check_topics", "--dataset", dataset or str(volume / "mine.toml"), "--data-dir", str(volume)]
    return subprocess.run(command, env=stage_environment(), capture_output=True, text=True, check=False)


def test_topics_that_all_have_a_page_are_told_in_one_line(tmp_path: Path) -> None:
    done = check(write_volume(tmp_path, *PAGES, prefix="Who is Per Holt? A baker.\n"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "5 topics (list 5): 0 without a page in mine.db, 0 twice, 0 in a few-shot example.\n"


def test_misses_are_listed_with_the_nearest_titles(tmp_path: Path) -> None:
    done = check(write_volume(tmp_path, "Ada Albane", "Oscar Venn", "Pim Holt", "Zzyzx"))
    assert done.returncode == 3 and done.stderr == ""
    assert done.stdout.splitlines() == [
        "Topics without a page (3):",
        "  Oscar Venn  list  nearest: 'Oskar Venn'",
        "  Pim Holt    list  nearest: 'Pim Holt (painter)'",
        "  Zzyzx       list  no title is near it",
        "4 topics (list 4): 3 without a page in mine.db, 0 twice, 0 in a few-shot example.",
    ]


def test_two_topics_that_are_one_page_are_found_through_redirects(tmp_path: Path) -> None:
    done = check(write_volume(tmp_path, "Ada Albane", "A. Albane", "Bo Krey", redirects={"A. Albane": "Ada Albane"}))
    assert done.returncode == 3 and "  A. Albane  list  is the page 'Ada Albane', as 'Ada Albane' is\n" in done.stdout and "1 twice" in done.stdout


def test_topics_that_a_few_shot_example_names_are_found(tmp_path: Path) -> None:
    done = check(write_volume(tmp_path, "Ada Albane", "Pim Holt (painter)", "Bo Krey", prefix="Pim Holt was taught by ADA ALBANE.\n\n"))
    assert done.returncode == 3 and "2 in a few-shot example." in done.stdout
    assert "  Ada Albane          responses.prefix  take another example, or take the topic out\n" in done.stdout and "Bo Krey" not in done.stdout


def test_given_files_are_checked_with_the_list(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, "Ada Albane")
    given = [{"topic": name, "topic_id": place, "questions": ["Q?"]} for place, name in enumerate(("Ada Albane", "Bo Krey", "Bo Krey", "Marit Oslunt"))]
    write_json(volume / "dataset_mine" / "given" / "questions_per_topic_test.json", given)
    done = check(volume)
    assert done.returncode == 3 and "(list 1, given test 4)" in done.stdout
    assert "  Marit Oslunt  given test  nearest: 'Marit Oslund'" in done.stdout and "  Bo Krey  given test  stands there twice" in done.stdout


def test_a_dataset_without_a_list_is_checked_by_its_questions_files(tmp_path: Path) -> None:
    volume = write_volume(tmp_path, listed=False)
    assert "has no topics yet" in check(volume).stderr
    write_json(volume / "dataset_mine" / "questions_per_topic_train.json", [{"topic": "Bo Krei", "topic_id": 0, "questions": ["Q?"]}])
    done = check(volume)
    assert done.returncode == 3 and "  Bo Krei  train  nearest: 'Bo Krey'" in done.stdout


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("knowledge/mine.db", None, "knowledge/mine.db is missing"),
        ("mine.csv", "topic\nAda Albane\nAda Albane\n", "line 3: 'Ada Albane' stands on line 2 already"),
        ("mine.toml", DEFINITION + '[topics]\npath = "mine.csv"\nprompt = "{topic}?"\n', "lacks [knowledge]"),
    ],
)
def test_what_cannot_be_checked_is_one_clear_error(tmp_path: Path, file: str, content: str | None, said: str) -> None:
    volume = write_volume(tmp_path, "Ada Albane")
    if content is None:
        (volume / file).unlink()
    else:
        (volume / file).write_text(content)
    done = check(volume)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("error:") == 1 and "Traceback" not in done.stderr


def test_the_project_s_own_lists_are_looked_up_too(tmp_path: Path) -> None:
    pages = [{"title": name, "text": f"{name} is a singer."} for name in ("Björk", "Shakira")]
    build_database(pages, tmp_path / "knowledge" / "enwiki-20230401.db")
    done = check(tmp_path, "bio")
    assert done.returncode == 3 and "463 topics (list 463): " in done.stdout and "0 twice, 0 in a few-shot example." in done.stdout
    assert "  Shakira " not in done.stdout and "  Ada Lovelace " in done.stdout


def test_a_message_of_another_kind_is_shown_whole() -> None:
    assert nearest_in("the redirects of 'A' go in a circle") == "the redirects of 'A' go in a circle"
