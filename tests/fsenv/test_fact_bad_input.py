"""What users give: every bad input is one clear error or one recorded failure, and the other topics are unharmed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from own_volume import manifest, outputs, run_stage, stage_command, stage_environment, write_definition, write_volume

from factscoring.knowledge_file import build_database
from volume.paths import encode_topic

RULES = 'backend = "rules"'
LEXICAL = 'backend = "lexical"'
LONG = " ".join(f"Ada Albane visited the town of Ostrel in the year {1800 + number}." for number in range(200))
ODD = {
    "Ada Albane": ["Ada Albane was born in Kelford.", ""],
    "Only space": ["  \n\t "],
    "No fact": ["!!! … ???"],
    "Long": [LONG],
    "عالمة": ["ولدت عالمة في مدينة. عملت مهندسة."],
    "Emoji 🎈": ["Emoji 🎈 was born in Kelford 🎉. 🎈🎈🎈"],
    "AC/DC": ["AC/DC was born in Kelford."],
    "..": ["Dots was born in Kelford."],
    'Quote " and %2F': ["It was born in Kelford.\u2028It was born in Kelford."],
}


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return write_definition(write_volume(tmp_path, people=("Ada Albane", "Oskar Venn")), facts=RULES, verifier=LEXICAL).parent


def give(volume: Path, responses: dict[str, list[str]]) -> None:
    """Replace the dataset's topics, pages and responses."""
    root = volume / "dataset_mine"
    topics = [{"topic": topic, "topic_id": number, "questions": ["Who?"]} for number, topic in enumerate(responses)]
    (root / "questions_per_topic_train.json").write_text(json.dumps(topics))
    for topic, texts in responses.items():
        (root / "responses" / f"{encode_topic(topic)}_generations.json").write_text(json.dumps({"Who?": {"responses": texts}}))
    build_database([{"title": topic, "text": f"{topic} was born in Kelford."} for topic in responses], volume / "knowledge" / "mine.db")


def test_odd_texts_and_odd_titles_are_scored_like_any_other(volume: Path) -> None:
    give(volume, ODD)
    done = run_stage(volume)
    assert done.returncode == 0, done.stderr
    scored = {responses[0]["topic"]: responses for responses in map(json.loads, outputs(volume).values())}
    assert set(scored) == set(ODD)
    assert [response["init_score"] for response in scored["Ada Albane"]] == [1.0, None]
    for nothing in (scored["Ada Albane"][1], scored["Only space"][0], scored["No fact"][0]):
        assert (nothing["decisions"], nothing["score"], nothing["respond_ratio"], nothing["abstained"]) == ([[]], None, 0.0, False)
    assert scored["Long"][0]["sentences"] == 200 and scored["Long"][0]["num_facts_per_response"] == 200
    assert scored["عالمة"][0]["num_facts_per_response"] >= 1
    assert scored["AC/DC"][0]["num_facts_per_response"] == 1 and "AC%2FDC_fs_out.json" in outputs(volume)
    assert "NaN" not in "".join(outputs(volume).values())


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "is not valid JSON"), ('{"Who?": {"responses": "x"}}', "expected a list"), ("[]", "expected an object"), ('{"Who?": {}}', "lacks the field 'responses'")],
)
def test_a_wrong_responses_file_fails_its_topic_alone_and_is_named(volume: Path, content: str, said: str) -> None:
    (volume / "dataset_mine" / "responses" / "Oskar Venn_generations.json").write_text(content)
    done = run_stage(volume)
    assert done.returncode == 3 and "Traceback" not in done.stderr
    failures: Any = manifest(volume)["failures"]
    assert list(failures) == ["Oskar Venn"] and said in failures["Oskar Venn"] and "Oskar Venn_generations.json" in failures["Oskar Venn"]
    assert list(outputs(volume)) == ["Ada Albane_fs_out.json"]


def test_a_missing_responses_file_fails_its_topic_alone(volume: Path) -> None:
    (volume / "dataset_mine" / "responses" / "Oskar Venn_generations.json").unlink()
    done = run_stage(volume)
    assert done.returncode == 3 and "Oskar Venn_generations.json is missing" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('path = "knowledge/mine.db"', 'path = "knowledge/none.db"', "knowledge/none.db is missing"),
        ('path = "knowledge/mine.db"', 'path = "knowledge/mine.db"\nredirects = "knowledge/r.json"', "r.json"),
        ('backend = "rules"', 'backend = "ruls"', "Did you mean 'rules'"),
        ('backend = "lexical"', 'backend = "llm"', "verifier.model: missing"),
        ('backend = "lexical"', 'backend = "local"\nmodel = "nobody"', "not under [models]"),
        ('backend = "rules"', 'backend = "grammar"', "world/grammar.json is missing"),
        ("k = 2", "k = 0", "retrieval.k = 0: expected 1 or more"),
        ("[retrieval]", "[retrievel]", "Did you mean 'retrieval'"),
    ],
)
def test_a_wrong_definition_is_one_error_before_anything_starts(volume: Path, old: str, new: str, said: str) -> None:
    path = volume / "mine.toml"
    path.write_text(path.read_text().replace(old, new))
    done = run_stage(volume)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not outputs(volume)


def test_a_full_disk_ends_the_stage_with_one_sentence_and_it_goes_on_after(volume: Path) -> None:
    # A disk of 64 KiB in a mount namespace of its own; without the right to make one, a folder that may not be written.
    small = volume / "dataset_mine" / "factscore_outputs"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=4k none '{small}'"
    command = ["unshare", "--mount", "sh", "-c", f"{mount} && exec \"$@\"", "_"]
    give(volume, {f"Person {number}": [f"Person {number} was born in Kelford. " * 40] for number in range(3)})
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    done = subprocess.run([*command, *stage_command(volume)], env=stage_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "No space left on device" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert run_stage(volume).returncode == 0 and len(outputs(volume)) == 3
