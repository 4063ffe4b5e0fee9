"""Resampling entities: the prompts, what is sampled together, and the stage with a tiny Llama on a small volume."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_service import ScriptedService
from spacy_models import write_pipeline
from tiny_models import make_llama

from confscoring import entities
from confscoring.entities import Entity, list_entities, resample, text_before
from confscoring.repeats import numbered
from confscoring.sampler import Sampler
from confscoring.sampling import Prompt, Sample
from confscoring.span_rules import RuleFinder
from confscoring.spans import Span
from confscoring.synthetic.grammar import build_grammar
from confscoring.synthetic.people import create_people
from volume.errors import ItemError
from volume.files import write_json
from volume.paths import encode_topic
from volume.settings import SamplingSettings, WorldSettings
from volume.stage import run_topics

HOW = SamplingSettings(model="tiny", n=3, max_new_tokens=15, top_p=0.9)
TEXTS = (
    "Ada Albane was born in Tarwick (Ostrel) in 1931. In 1950 she moved to Kelford-upon-Sea, and in 1931",
    "",
    "Ada Albane",
    "She won the “Silver Moon” in Ostrel, in Ostrel and in Ostrel.",
    "She won the “Silver Moon” in Ostrel, in Ostrel and in Ostrel.",
    "nothing is known",
)
PEOPLE = ("Ada Albane", "Oskar Venn", "Ödön Ács/Őri")


class Years:
    """Finds the years of a text."""

    identity = {"finder": "years"}

    def find(self, text: str, _topic: str) -> list[Span]:
        return [match.span() for match in re.finditer(r"\d{4}", text)]


class Recorded:
    """Samples the prompt's own end and keeps what it was asked; fails on prompts that hold a word."""

    def __init__(self, fails: str = "\0") -> None:
        self.asked: list[tuple[list[Prompt], SamplingSettings, str | None]] = []
        self._fails = fails

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings, shared: str | None = None) -> list[list[Sample] | ItemError]:
        self.asked.append((list(prompts), settings, shared))
        return [
            ItemError("too long") if self._fails in prompt.text else [Sample(f"{prompt.item}~{index}", 1, 0.5) for index in range(settings.n)] for prompt in prompts
        ]


def listed(responses: Sequence[str], question: str = "Who?", count: Any = lambda text: len(text.split())) -> list[Entity]:
    return list_entities("Ada", {question: {"responses": list(responses)}}, Years(), count)


@pytest.mark.parametrize(("response", "start", "expected"), [
    ("Paris is", 0, "Who?"),
    ("In Paris", 3, "Who? In"),
    ("In  Paris", 4, "Who? In "),  # one space only
    ("She (Paris", 5, "Who? She ("),
    ("She “Paris", 5, "Who? She “"),
    ("Neo-Paris", 4, "Who? Neo-"),
    ("She.\nParis", 5, "Who? She.\n"),
    ("She.\n Paris", 6, "Who? She.\n"),
    ("She\tParis", 4, "Who? She\t"),
    ("She\u00a0Paris", 4, "Who? She\u00a0"),
    ("她在Paris", 2, "Who? 她在"),
    ("word " * 900 + "Paris", 4500, "Who? " + "word " * 899 + "word"),  # nothing is cut
])  # fmt: skip
def test_a_prompt_is_the_text_before_the_entity_less_one_space(response: str, start: int, expected: str) -> None:
    assert response[start:].startswith("Paris")
    assert text_before("Who?", response, start) == expected


def test_repeated_entities_and_repeated_responses_have_draws_and_keys_of_their_own() -> None:
    found = listed(["In 1931 and 1931", "In 1931 and 1931", "In 1931#2", "In 1931 and 1931#2"])
    assert [(entity.response, entity.name) for entity in found] == [
        ("In 1931 and 1931", "1931"), ("In 1931 and 1931", "1931#2"), ("In 1931 and 1931#2", "1931"), ("In 1931 and 1931#2", "1931#2"),
        ("In 1931#2", "1931"), ("In 1931 and 1931#2#2", "1931"), ("In 1931 and 1931#2#2", "1931#2"),
    ]  # fmt: skip
    assert [entity.prompt.item for entity in found[:3]] == ["entities/Ada/Who?/0/3", "entities/Ada/Who?/0/12", "entities/Ada/Who?/1/3"]
    assert len({entity.prompt.item for entity in found}) == len(found) == 7


def test_as_many_tokens_are_sampled_as_the_entity_has_where_it_stands(tmp_path: Path) -> None:
    sampler = Sampler(make_llama(tmp_path), "float32", 0, "toy")
    text = "She won the Rubyquill (1931) in Ostrel."
    spans = [(12, 21), (23, 27), (32, 38)]
    prompts = [entity.prompt for entity in list_entities("Ada", {"Who?": {"responses": [text]}}, _At(spans), sampler.count_tokens)]
    assert [prompt.text for prompt in prompts] == ["Who? She won the", "Who? She won the Rubyquill (", "Who? She won the Rubyquill (1931) in"]
    for prompt, (start, end) in zip(prompts, spans, strict=True):
        whole = sampler.tokenizer(f"Who? {text[:end]}")["input_ids"]
        before = sampler.tokenizer(prompt.text)["input_ids"]
        assert whole[: len(before)] == before and prompt.max_new_tokens == len(whole) - len(before) > 0
        assert sampler.tokenizer.decode(whole[len(before) :]).strip() == text[start:end]
    assert prompts[2].max_new_tokens == 1 and sampler.count_tokens("Ostrel") == 3  # alone it is not the word that it is behind a space
    # A tokenizer that joins the entity to what is before it: one token is sampled all the same.
    assert listed(["x1931"], count=lambda text: 1)[0].prompt.max_new_tokens == 1


def test_a_responses_entities_are_asked_together_with_the_longest_prompt_shared() -> None:
    sampler = Recorded()
    found = listed(["In 1931 or 1932 he", "no year", "1940", "In 1931 or 1932 he"]) + listed(["1950"], "Why?")
    drawn = resample(found, sampler, HOW)
    assert [[sample.text for sample in samples] for samples in drawn] == [[f"{entity.prompt.item}~{index}" for index in range(3)] for entity in found]
    assert [(len(prompts), shared) for prompts, _, shared in sampler.asked] == [(4, "Who? In 1931 or"), (1, "Who?"), (1, "Why?")]
    assert all(settings.max_new_tokens == 1 for _, settings, _ in sampler.asked)  # and not the answers' 15


def test_a_server_is_asked_for_all_at_once() -> None:
    sampler = Recorded()
    found = listed(["In 1931 or 1932 he", "1940"])
    resample(found, sampler, SamplingSettings(model="tiny", n=3, max_new_tokens=15, backend="openai"))
    assert [len(prompts) for prompts, _, _ in sampler.asked] == [3]
    assert resample([], sampler, HOW) == [] and len(sampler.asked) == 1


def test_an_entity_that_cannot_be_sampled_is_named() -> None:
    with pytest.raises(ItemError, match="^the entity '1932' of a response to 'Who\\?': too long"):
        resample(listed(["In 1931 or 1932 he"]), Recorded(fails="or"), HOW)


def test_samples_are_those_of_each_prompt_alone(tmp_path: Path) -> None:
    folder = make_llama(tmp_path)
    sampler = Sampler(folder, "float32", 0, "toy")
    text = "Ada Albane was born in Tarwick and lives in Kelford with two dogs. She won the Rubyquill in Ostrel in 1931, and he taught a pupil there in 1932."
    found = list_entities("Ada Albane", {"Tell a biography of Ada Albane.": {"responses": [text]}}, RuleFinder("both"), sampler.count_tokens)
    assert len(found) >= 6
    together = resample(found, sampler, HOW)
    shared = sampler.forwards.shared
    alone = Sampler(folder, "float32", 0, "toy")
    for entity, samples in zip(found, together, strict=True):
        (expected,) = alone.sample([entity.prompt], HOW)
        assert isinstance(expected, list)
        assert [sample.text for sample in samples] == [sample.text for sample in expected]
        assert all(sample.tokens <= (entity.prompt.max_new_tokens or 0) for sample in samples)
    # The response is run once, and not once more for every entity.
    assert shared == len(sampler.tokenizer(found[-1].prompt.text)["input_ids"])
    assert sampler.forwards.prompts < 4 * len(found) < alone.forwards.prompts / 4
    backwards = resample(found[::-1], sampler, HOW)
    assert [[sample.text for sample in samples] for samples in backwards[::-1]] == [[sample.text for sample in samples] for samples in together]


class _At:
    """Finds given spans."""

    identity = {"finder": "given"}

    def __init__(self, spans: list[Span]) -> None:
        self._spans = spans

    def find(self, _text: str, _topic: str) -> list[Span]:
        return self._spans


def write_volume(folder: Path, section: str, people: Sequence[str] = PEOPLE, positions: int = 256) -> Path:
    """Write the model, the definition, the questions and the responses; return the volume."""
    make_llama(folder / "models" / "tiny", positions=positions)
    (folder / "mine.toml").write_text(
        'name = "mine"\ndescription = "a few people"\nsplits = ["train", "test"]\n[models.tiny]\npath = "models/tiny"\n'
        f'[answers]\nmodel = "tiny"\nn = 6\nmax_new_tokens = 1\nstop = [" "]\nprefix = "Who? Me\\n"\n[entities]\nenabled = true\nn = 4\n{section}\n'
    )
    root = folder / "dataset_mine"
    questions = ["Write about {}.", "Who is {}?"]
    write_json(root / "questions_per_topic_train.json", [
        {"topic": name, "topic_id": place, "questions": [question.format(name) for question in questions]} for place, name in enumerate(people)
    ])  # fmt: skip
    for name in people:
        responses = [text.replace("Ada Albane", name) for text in TEXTS]
        generations = {question.format(name): {"responses": own} for question, own in zip(questions, (responses, []), strict=True)}
        write_json(root / "responses" / f"{encode_topic(name)}_generations.json", generations)
    return folder


def arguments(volume: Path) -> list[str]:
    return ["--dataset", str(volume / "mine.toml"), "--data-dir", str(volume), "--split", "train"]


def run_stage(volume: Path) -> int:
    return run_topics("entities", entities.prepare, argv=arguments(volume))


def read(volume: Path, name: str = "Ada Albane") -> dict[str, dict[str, dict[str, list[str]]]]:
    folder = volume / "dataset_mine" / "ne_samples" / "tiny_6samples"
    found: dict[str, dict[str, dict[str, list[str]]]] = json.loads((folder / f"{encode_topic(name)}_ne_samples.json").read_text())
    return found


def manifest(volume: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((volume / "dataset_mine" / "manifests" / "entities-train.json").read_text())
    return found


def outputs(volume: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((volume / "dataset_mine" / "ne_samples").rglob("*.json"))}


def test_the_stage_keeps_every_response_and_every_entity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, 'backend = "spacy"')
    assert run_stage(tmp_path) == 0
    found = read(tmp_path)
    assert list(found) == ["Write about Ada Albane.", "Who is Ada Albane?"] and found["Who is Ada Albane?"] == {}
    rows = found["Write about Ada Albane."]
    assert list(rows) == numbered(TEXTS)
    assert [list(names) for names in rows.values()] == [
        ["Tarwick", "Ostrel", "1931", "1950", "Kelford-upon-Sea", "1931#2"], [], [],
        ["Silver Moon", "Ostrel", "Ostrel#2", "Ostrel#3"], ["Silver Moon", "Ostrel", "Ostrel#2", "Ostrel#3"], [],
    ]  # fmt: skip
    texts = [samples for names in rows.values() for samples in names.values()]
    assert all(len(samples) == 4 for samples in texts) and len({text for samples in texts for text in samples}) > 20
    assert rows[TEXTS[3]] != rows[f"{TEXTS[3]}#2"]  # draws of their own
    told = manifest(tmp_path)
    assert told["notes"]["spans"] == {"finder": "rules", "version": "1", "spans": "entities"}
    assert told["counts"]["entities"] == 14 * len(PEOPLE) and told["counts"]["responses_without_entities"] == 3 * len(PEOPLE)
    assert 14 * 4 * len(PEOPLE) < told["counts"]["tokens"]  # longer than a token, though the answers have one at most
    assert "no spaCy model in spacy/en_core_web_sm" in capsys.readouterr().err


def test_the_stage_finds_spans_with_a_spacy_model_of_the_volume(tmp_path: Path) -> None:
    write_volume(tmp_path, 'backend = "spacy"\nspans = "both"\nmodel = "spacy/en_tiny"')
    write_pipeline(tmp_path / "spacy" / "en_tiny")
    path = tmp_path / "dataset_mine" / "responses" / "Ada Albane_generations.json"
    write_json(path, {"Who?": {"responses": ["Marie Curie discovered polonium with her husband.", "She won the Nobel Prize in 1903."]}})
    assert run_stage(tmp_path) == 0
    assert [list(names) for names in read(tmp_path)["Who?"].values()] == [["Marie Curie", "polonium", "her husband"], ["Nobel Prize", "1903"]]
    assert manifest(tmp_path)["notes"]["spans"]["finder"] == "spacy" and manifest(tmp_path)["notes"]["spans"]["model"] == "en_tiny 1.2.3"
    assert run_stage(tmp_path) == 0  # up to date
    (tmp_path / "spacy" / "en_tiny" / "tokenizer").write_bytes(b"")  # another model makes the samples stale, and this one is broken
    assert run_stage(tmp_path) == 2


def test_the_stage_finds_spans_with_the_grammar_of_the_world(tmp_path: Path) -> None:
    write_volume(tmp_path, 'backend = "grammar"\n[facts]\nbackend = "grammar"\n[retrieval]\nbackend = "bm25"\n[verifier]\nbackend = "lexical"')
    assert run_stage(tmp_path) == 2  # no grammar
    root = tmp_path / "dataset_mine"
    write_json(root / "world" / "grammar.json", build_grammar(create_people(0, WorldSettings(people=60))[1]))
    text = "Her year of birth is 1950. Her birthplace is unrecorded. The town where she lives is Melby."
    write_json(root / "responses" / "Oskar Venn_generations.json", {"Who?": {"responses": [text]}})
    assert run_stage(tmp_path) == 0
    assert list(read(tmp_path, "Oskar Venn")["Who?"][text]) == ["1950", "Melby"]
    assert manifest(tmp_path)["notes"]["spans"] == {"finder": "grammar"}


def test_a_served_model_gets_the_same_prompts(tmp_path: Path) -> None:
    with ScriptedService() as service:
        write_volume(tmp_path, 'backend = "spacy"\ntemperature = 0.7\ntop_p = 0.8', PEOPLE[:1])
        definition = tmp_path / "mine.toml"
        served = f'[completions]\nbase_url = "{service.url}"\n[answers]\nbackend = "openai"\n'
        definition.write_text(definition.read_text().replace("[answers]\n", served))
        assert run_stage(tmp_path) == 0
    asked = [body for body in service.calls if body["prompt"] == "Write about Ada Albane. " + TEXTS[0][: TEXTS[0].index("Ostrel")]]
    assert len(asked) == 4 and len({body["seed"] for body in asked}) == 4 and len(service.calls) == 4 * 14
    assert asked[0]["temperature"] == 0.7 and asked[0]["top_p"] == 0.8 and asked[0]["max_tokens"] >= 1 and "stop" not in asked[0]
    assert len(read(tmp_path)["Write about Ada Albane."][TEXTS[0]]["Ostrel"]) == 4
    assert manifest(tmp_path)["notes"]["calls"]["asked"] == 4 * 14


def test_a_response_that_the_model_has_no_room_for_fails_its_topic_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, 'backend = "spacy"')
    path = tmp_path / "dataset_mine" / "responses" / "Oskar Venn_generations.json"
    long = "He went on and on and on and on and on and on and on to Kelford, " + "and on " * 200 + "to Tarwick."
    write_json(path, {"Who?": {"responses": ["He went to Ostrel.", long]}})
    assert run_stage(tmp_path) == 3
    assert "failed: Oskar Venn: the entity 'Tarwick' of a response to 'Who?': the prompt has" in capsys.readouterr().err
    assert list(outputs(tmp_path)) == sorted(f"{encode_topic(name)}_ne_samples.json" for name in PEOPLE if name != "Oskar Venn")
    assert manifest(tmp_path)["counts"]["entities"] == 14 * (len(PEOPLE) - 1)


def test_a_broken_spacy_model_stops_the_stage_before_anything_is_sampled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, 'backend = "spacy"')
    shutil.rmtree(tmp_path / "models")
    (tmp_path / "spacy" / "en_core_web_sm").mkdir(parents=True)
    assert run_stage(tmp_path) == 2
    told = capsys.readouterr().err
    assert "spacy/en_core_web_sm cannot be read as a model for spaCy" in told and "holds no model" not in told


def test_a_topic_has_the_same_samples_whatever_other_topics_there_are(tmp_path: Path) -> None:
    for name, people in (("all", PEOPLE), ("one", PEOPLE[2:])):
        assert run_stage(write_volume(tmp_path / name, 'backend = "spacy"', people)) == 0
    assert read(tmp_path / "all", PEOPLE[2]) == read(tmp_path / "one", PEOPLE[2])


def test_killed_at_random_moments_and_resumed_the_files_are_the_same(tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    people = [f"{first} {last}" for first in ("Ada", "Bo", "Cy", "Di") for last in ("Albane", "Venn", "Oslund")]
    for folder in (calm, rough):
        write_volume(folder, 'backend = "spacy"\nspans = "both"', people)
    start = time.monotonic()
    assert run_stage(calm) == 0
    took = time.monotonic() - start
    draw, kills = random.Random(3), 0
    for number in range(1, 13):  # ever later, so that all of the work is met
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os._exit(run_stage(rough))
        time.sleep(took * number / 12 * draw.uniform(0.2, 1.0))
        os.kill(child, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert run_stage(rough) == 0
    assert kills >= 3  # one that has nothing left to do ends by itself
    assert outputs(rough) == outputs(calm) and len(outputs(calm)) == len(people)
    assert manifest(rough)["counts"] == manifest(calm)["counts"]
