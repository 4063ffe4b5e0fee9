"""The stage `rewards` on volumes of every odd shape: its files, its refusals, files of the public code, a service for `llm`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from reward_volume import SAMPLER, fact, manifest, read_confidences, read_rewards, run_rewards, write_topic, write_volume
from scripted_service import ScriptedService

from confscoring import questions, rewards
from confscoring.synthetic.grammar import build_grammar
from confscoring.synthetic.people import create_people
from volume.files import write_json
from volume.settings import WorldSettings
from volume.stage import run_topics, run_whole

COLUMNS = ["factscore_avg", "factscore_lp_avg", "factscore_detail_avg", "aq_neg_ent_avg", "aq_max_conf_avg", "aq_exp_conf_avg", "aq_samp_conf_avg", "random"]
TOWN, YEAR = "Which town?", "Which year?"
MELBY = ["Melby", "Melby", "melby.", "Ilby"]
ADA = {"Who is Ada?": [
    ("Ada lives in Melby.", [fact(True, TOWN, MELBY, "Melby", attribute="home_town", value="Melby")]),
    ("Ada lives in Ilby.", [fact(False, TOWN, MELBY, "Ilby"), fact(False, kind="unparsed")]),
    ("", []),
]}  # fmt: skip
BO = {"Who is Bo?": [("Bo.", [fact(True, YEAR, ["1947", "1950", "1951", ""], "1947")]), ("Bo!", [fact(True, YEAR, ["1947"] * 4, "1947")])]}


def counts(volume: Path, topics: int) -> dict[str, int]:
    lines = (volume / "dataset_mine" / "rewards" / f"pairs_count_train_{topics}.txt").read_text().splitlines()
    return {name: int(number) for name, number in (line.split(":\t") for line in lines)}


def test_one_value_per_response_in_response_order_and_null_where_there_is_none(tmp_path: Path) -> None:
    write_volume(tmp_path, {"Ada": ADA, "Bo": BO})
    assert run_rewards(tmp_path) == 0
    found = read_rewards(tmp_path, 2)
    columns = found["Ada"]["Who is Ada?"]
    assert list(columns) == ["responses", *COLUMNS]
    assert columns["responses"] == ["Ada lives in Melby.", "Ada lives in Ilby.", ""]
    assert columns["factscore_avg"] == columns["factscore_lp_avg"] == [1.0, 0.0, None]
    assert columns["factscore_detail_avg"] == [pytest.approx(1 + 0.3 * math.log(2), abs=1e-15), 0.0, None]
    assert columns["aq_max_conf_avg"] == [0.75, 0.375, None] and columns["aq_exp_conf_avg"] == [0.625, 0.3125, None]
    assert columns["aq_samp_conf_avg"] == [0.75, 0.125, None]
    entropy = 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    assert columns["aq_neg_ent_avg"] == [pytest.approx(entropy, abs=1e-15), pytest.approx((entropy - math.log(4)) / 2, abs=1e-15), None]
    assert len(set(columns["random"])) == 3
    assert found["Bo"]["Who is Bo?"]["aq_max_conf_avg"] == [0.25, 1.0]


def test_every_reward_has_a_line_of_pairs_also_one_that_no_response_has(tmp_path: Path) -> None:
    write_volume(tmp_path, {"Ada": ADA, "Bo": BO})
    assert run_rewards(tmp_path) == 0
    assert counts(tmp_path, 2) == {
        "factscore_avg": 1, "factscore_lp_avg": 1, "factscore_detail_avg": 1, "aq_neg_ent_avg": 2, "aq_max_conf_avg": 2, "aq_exp_conf_avg": 2,
        "aq_samp_conf_avg": 2, "random": 4,
    }  # fmt: skip
    write_volume(tmp_path, {"Ada": {"Who is Ada?": [("", []), ("…", [])]}})
    assert run_rewards(tmp_path) == 0
    assert counts(tmp_path, 1) == {**dict.fromkeys(COLUMNS, 0), "random": 1}
    assert manifest(tmp_path)["notes"]["pairs"]["factscore_avg"] == {"pairs": 0, "ties": 0, "without_reward": 2}


def test_every_fact_has_a_line_with_its_confidence(tmp_path: Path) -> None:
    write_volume(tmp_path, {"Ada": ADA, "Bo": BO})
    assert run_rewards(tmp_path) == 0
    lines = read_confidences(tmp_path, 2)
    keys = ["topic", "question", "response", "fact", "atom", "kind", "attribute", "value", "is_supported", "atomic_question", "claim_answer"]
    assert {tuple(line) for line in lines} == {(*keys, "neg_ent", "max_conf", "exp_conf", "samp_conf")}
    assert [(line["topic"], line["response"], line["fact"], line["max_conf"], line["samp_conf"]) for line in lines] == [
        ("Ada", 0, 0, 0.75, 0.75), ("Ada", 1, 0, 0.75, 0.25), ("Ada", 1, 1, None, None), ("Bo", 0, 0, 0.25, 0.25), ("Bo", 1, 0, 1.0, 1.0),
    ]  # fmt: skip
    first, _, unreadable, *_ = lines
    assert (first["attribute"], first["value"], first["claim_answer"], first["is_supported"], first["question"]) == ("home_town", "Melby", "Melby", True, "Who is Ada?")
    assert (unreadable["kind"], unreadable["atomic_question"], unreadable["neg_ent"], unreadable["exp_conf"]) == ("unparsed", None, None, None)
    written = manifest(tmp_path)
    assert sorted(written["outputs"]) == [f"dataset_mine/rewards/{name}" for name in ("confidences_train_2.jsonl", "pairs_count_train_2.txt", "rewards_train_2.json")]
    assert {key: written["counts"][key] for key in ("topics", "missing", "responses", "facts", "without_question", "without_answers")} == {
        "topics": 2, "missing": 0, "responses": 5, "facts": 5, "without_question": 1, "without_answers": 0,
    }  # fmt: skip
    assert written["notes"]["equivalence"] == {"backend": "words"}


def test_an_empty_list_of_answers_is_no_confidence_and_answers_that_are_all_empty_the_least_there_is(tmp_path: Path) -> None:
    responses = [("no list", [fact(True, TOWN, [], "Melby")]), ("silence", [fact(True, YEAR, ["", " ", "", "?"], "1947")])]
    write_volume(tmp_path, {"Ada": {"Who?": responses}})
    assert run_rewards(tmp_path) == 0
    columns = read_rewards(tmp_path, 1)["Ada"]["Who?"]
    assert columns["aq_max_conf_avg"] == [0.0, 0.25] and columns["aq_exp_conf_avg"] == [0.0, 0.25]
    assert columns["aq_samp_conf_avg"] == [0.0, 0.0]
    assert columns["aq_neg_ent_avg"] == [pytest.approx(-math.log(4), abs=1e-15)] * 2
    assert [line["max_conf"] for line in read_confidences(tmp_path, 1)] == [None, 0.25]
    assert manifest(tmp_path)["counts"]["without_answers"] == 1


def test_a_blank_claim_is_no_claim(tmp_path: Path) -> None:
    write_volume(tmp_path, {"Ada": {"Who?": [("a", [fact(True, TOWN, MELBY, " ")])]}}, '[equivalence]\nbackend = "suffix"')
    assert run_rewards(tmp_path) == 0
    assert read_rewards(tmp_path, 1)["Ada"]["Who?"]["aq_samp_conf_avg"] == [None]  # to the rules of `suffix` it would agree with every answer


def test_the_public_equivalence_keeps_its_figures_for_empty_answers(tmp_path: Path) -> None:
    write_volume(tmp_path, {"Ada": {"Who?": [("silence", [fact(True, YEAR, ["", " ", "", ""], "1947")])]}}, '[equivalence]\nbackend = "suffix"')
    assert run_rewards(tmp_path) == 0
    assert read_rewards(tmp_path, 1)["Ada"]["Who?"]["aq_max_conf_avg"] == [1.0]
    assert manifest(tmp_path)["notes"]["equivalence"] == {"backend": "suffix"}


@pytest.mark.parametrize(("number", "pairs"), [(1, 0), (2, 1)])
def test_one_response_makes_no_pair_and_two_make_one(tmp_path: Path, number: int, pairs: int) -> None:
    write_volume(tmp_path, {"Ada": {"Who is Ada?": ADA["Who is Ada?"][:number]}})
    assert run_rewards(tmp_path) == 0
    assert len(read_rewards(tmp_path, 1)["Ada"]["Who is Ada?"]["responses"]) == number
    assert set(counts(tmp_path, 1).values()) == {pairs}


def test_responses_and_questions_that_repeat_stay_apart(tmp_path: Path) -> None:
    facts = [fact(True, TOWN, MELBY, "Melby"), fact(False, TOWN, MELBY, "Ilby")]
    write_volume(tmp_path, {"Ada": {"Who?": [("same", facts), ("same", facts[:1]), ("same", facts)]}, "Bo": {"Who?": [("same", facts)]}})
    assert run_rewards(tmp_path) == 0
    found = read_rewards(tmp_path, 2)
    columns = found["Ada"]["Who?"]
    assert columns["responses"] == ["same"] * 3
    assert columns["aq_samp_conf_avg"] == [0.5, 0.75, 0.5]
    assert len({*columns["random"], *found["Bo"]["Who?"]["random"]}) == 4
    assert counts(tmp_path, 2)["aq_samp_conf_avg"] == 2


def test_answers_in_other_scripts_and_topics_that_no_file_name_can_hold(tmp_path: Path) -> None:
    responses = {"東京とは？": [("東京は首都。", [fact(True, "首都は？", ["東京", "東京。", "京都", "トーキョー"], "東京")])]}
    write_volume(tmp_path, {"東京/Tōkyō": responses})
    assert run_rewards(tmp_path) == 0
    assert read_rewards(tmp_path, 1)["東京/Tōkyō"]["東京とは？"]["aq_samp_conf_avg"] == [0.5]
    assert "首都は？" in (tmp_path / "dataset_mine" / "rewards" / "confidences_train_1.jsonl").read_text()


def test_several_prompts_of_a_topic_with_different_numbers_of_responses(tmp_path: Path) -> None:
    one, two = ("a", [fact(True, TOWN, MELBY, "Melby")]), ("b", [fact(False, YEAR, ["1947"] * 4, "1950")])
    write_volume(tmp_path, {"Ada": {"First?": [one, two, one], "Second?": [two], "Third?": [], "Fourth?": [two, one]}})
    assert run_rewards(tmp_path) == 0
    found = read_rewards(tmp_path, 1)["Ada"]
    assert {question: columns["aq_samp_conf_avg"] for question, columns in found.items()} == {"First?": [0.75, 0.0, 0.75], "Second?": [0.0], "Fourth?": [0.0, 0.75]}
    assert [(line["question"], line["response"]) for line in read_confidences(tmp_path, 1)][-2:] == [("Fourth?", 0), ("Fourth?", 1)]


def test_files_of_the_public_code_are_read(tmp_path: Path) -> None:
    """No claimed answers, [None] and a bare NaN for a response without facts, a repeated response kept once among the entities."""
    write_volume(tmp_path, {"Ada": {"Who?": [("same", []), ("same", []), ("none", [])]}}, "[entities]\nenabled = true\nn = 4")
    root = tmp_path / "dataset_mine"
    decisions = [[{"atom": "Ada lives in Melby.", "is_supported": True, "atomic_question": TOWN, "convert_to_aq_prompt": "…"}]]
    row = {"topic": "Ada", "generation": "same", "score": 0.4, "respond_ratio": 1.0, "decisions": decisions, "num_facts_per_response": 2, "init_score": 1.0}
    empty = {**row, "generation": "none", "score": math.nan, "init_score": math.nan, "decisions": [None]}
    (root / "atomic_qs" / "Ada_aqs.json").write_text(json.dumps([row, row, empty]))
    assert "NaN" in (root / "atomic_qs" / "Ada_aqs.json").read_text()
    write_json(root / "atomic_qs_samples" / SAMPLER / "Ada_samples.json", {"samples": [{TOWN: MELBY}, {TOWN: MELBY}, {}]})
    write_json(root / "ne_samples" / SAMPLER / "Ada_ne_samples.json", {"Who?": {"same": {"Melby": ["Melby", "Melby", "Oslo", "Rome"], "Ada": []}, "none": {}}})
    assert run_rewards(tmp_path) == 0
    columns = read_rewards(tmp_path, 1)["Ada"]["Who?"]
    assert columns["factscore_avg"] == [1.0, 1.0, None] and columns["factscore_lp_avg"] == [0.4, 0.4, None]
    assert columns["aq_max_conf_avg"] == [0.75, 0.75, None] and columns["aq_samp_conf_avg"] == [None] * 3
    assert columns["ne_max_conf_avg"] == [0.5, 0.5, None] and columns["ne_exp_conf_avg"] == [0.375, 0.375, None]
    assert counts(tmp_path, 1)["aq_samp_conf_avg"] == 0
    assert read_confidences(tmp_path, 1)[0]["claim_answer"] is None


def test_repeated_responses_and_entities_keep_entities_of_their_own(tmp_path: Path) -> None:
    write_volume(tmp_path, {"Ada": {"Who?": [("same", []), ("same", [])]}}, "[entities]\nenabled = true\nn = 4")
    drawn = {"Who?": {"same": {"Melby": ["a"] * 4, "Melby#2": ["a", "b", "c", "d"]}, "same#2": {"Melby": ["a", "a", "b", "b"]}}}
    write_topic(tmp_path, "Ada", {"Who?": [("same", []), ("same", [])]}, drawn)
    assert run_rewards(tmp_path) == 0
    columns = read_rewards(tmp_path, 1)["Ada"]["Who?"]
    assert list(columns)[-4:] == ["ne_neg_ent_avg", "ne_max_conf_avg", "ne_exp_conf_avg", "random"]
    assert columns["ne_max_conf_avg"] == [0.625, 0.5]


def test_a_topic_is_left_out_only_when_that_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, {"Ada": ADA, "Bo": BO})
    (tmp_path / "dataset_mine" / "atomic_qs_samples" / SAMPLER / "Bo_samples.json").unlink()
    assert run_rewards(tmp_path) == 1
    error = capsys.readouterr().err
    assert "1 of 2 topics of 'train' cannot be scored" in error and "Bo_samples.json is missing" in error and "rewards.max_missing = 1" in error
    assert not (tmp_path / "dataset_mine" / "rewards").exists()
    definition = tmp_path / "mine.toml"
    definition.write_text(definition.read_text() + "[rewards]\nmax_missing = 1\n")
    assert run_rewards(tmp_path) == 0
    assert list(read_rewards(tmp_path, 1)) == ["Ada"]
    assert list(manifest(tmp_path)["notes"]["missing"]) == ["Bo"]


def test_a_split_of_which_nothing_can_be_scored_is_refused_whatever_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, {"Ada": ADA}, "[rewards]\nmax_missing = 9")
    (tmp_path / "dataset_mine" / "responses" / "Ada_generations.json").unlink()
    assert run_rewards(tmp_path) == 1
    assert "1 of 1 topics of 'train' cannot be scored" in capsys.readouterr().err


def test_files_that_do_not_fit_together_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, {"Ada": ADA})
    write_json(tmp_path / "dataset_mine" / "responses" / "Ada_generations.json", {"Who is Ada?": {"responses": ["one"]}})
    assert run_rewards(tmp_path) == 1
    assert "Ada has 1 responses, 3 scored ones and 3 with answers" in capsys.readouterr().err


def test_a_question_that_nobody_answered_is_an_error_and_not_a_lack_of_confidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, {"Bo": BO})
    write_json(tmp_path / "dataset_mine" / "atomic_qs_samples" / SAMPLER / "Bo_samples.json", {"samples": [{"Another?": ["x"]}, {YEAR: ["1947"]}]})
    assert run_rewards(tmp_path) == 1
    assert f"Bo has the question '{YEAR}' but no answers to it" in capsys.readouterr().err


def test_a_definition_without_answers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, {"Ada": ADA})
    (tmp_path / "mine.toml").write_text('name = "mine"\ndescription = ""\nsplits = ["train", "test"]\n')
    assert run_rewards(tmp_path) == 2
    assert "lacks [answers]" in capsys.readouterr().err


def by_town(body: dict[str, Any]) -> str:
    return "Yes" if "Melby" in body["messages"][1]["content"] and "the town of M." in body["messages"][1]["content"] else "No"


def service_settings(service: ScriptedService, more: str = "") -> str:
    return f'[equivalence]\nbackend = "llm"\nmodel = "scripted"\n[llm]\nbase_url = "{service.url}"\nbackoff_s = 0.001\n{more}\n'


def test_a_service_says_which_answers_are_the_same_and_a_second_run_needs_none(tmp_path: Path) -> None:
    facts = [fact(True, TOWN, ["Melby", "the town of M.", "Ilby", ""], "melby"), fact(False, TOWN, ["Melby", "the town of M.", "Ilby", ""], "Hull")]
    with ScriptedService(by_town) as service:
        write_volume(tmp_path, {"Ada": {"Who?": [("a", facts[:1]), ("b", facts)]}}, service_settings(service))
        assert run_rewards(tmp_path) == 0
        assert set(service.answered.values()) == {1}
        notes = manifest(tmp_path)["notes"]
        assert notes["calls"]["asked"] == len(service.calls) > 0
    assert notes["equivalence"]["model"] == "scripted" and len(notes["equivalence"]["prompt_sha256"]) == 64
    columns = read_rewards(tmp_path, 1)["Ada"]["Who?"]
    assert columns["aq_max_conf_avg"] == [0.5, 0.5] and columns["aq_samp_conf_avg"] == [0.5, 0.25]
    first = (tmp_path / "dataset_mine" / "rewards" / "rewards_train_1.json").read_bytes()
    (tmp_path / "dataset_mine" / "rewards" / "rewards_train_1.json").unlink()
    assert run_rewards(tmp_path, "--llm-mode", "replay") == 0  # nobody listens any more
    assert (tmp_path / "dataset_mine" / "rewards" / "rewards_train_1.json").read_bytes() == first
    assert manifest(tmp_path)["notes"]["calls"]["asked"] == 0


def test_a_topic_whose_comparison_fails_for_good_is_missing_and_its_paid_calls_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"Who?": [("b", [fact(True, YEAR, ["Melby", "Hull", "x", "x"], "y")])]}
    good = {"Who?": [("a", [fact(True, TOWN, ["Melby", "the town of M.", "Ilby", ""], "Oslo")])]}
    with ScriptedService(by_town, lambda body, _: "400" if "Hull" in body["messages"][1]["content"] else None) as service:
        write_volume(tmp_path, {"Ada": good, "Bo": bad}, service_settings(service))
        assert run_rewards(tmp_path) == 1
        error = capsys.readouterr().err
        assert "1 of 2 topics of 'train' cannot be scored" in error and "Bo: equivalence: " in error
        paid = len(service.calls)
        assert paid > 3
        definition = tmp_path / "mine.toml"
        definition.write_text(definition.read_text() + "[rewards]\nmax_missing = 1\n")
        assert run_rewards(tmp_path) == 0
        assert len(service.calls) == paid
    assert list(read_rewards(tmp_path, 1)) == ["Ada"]


def test_undecided_comparisons_are_counted(tmp_path: Path) -> None:
    with ScriptedService(lambda body: "Perhaps.") as service:
        write_volume(tmp_path, {"Ada": {"Who?": [("a", [fact(True, TOWN, ["Melby", "Hull", "Melby", "Melby"], "Hull")])]}}, service_settings(service))
        assert run_rewards(tmp_path) == 0
    assert manifest(tmp_path)["counts"]["undecided"] == 1
    assert read_rewards(tmp_path, 1)["Ada"]["Who?"]["aq_max_conf_avg"] == [0.75]


def test_nothing_is_paid_for_where_too_many_topics_are_missing_anyway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedService(by_town) as service:
        write_volume(tmp_path, {"Ada": {"Who?": [("a", [fact(True, TOWN, ["Melby", "Hull"], "x")])]}, "Bo": BO}, service_settings(service))
        (tmp_path / "dataset_mine" / "atomic_qs" / "Bo_aqs.json").unlink()
        assert run_rewards(tmp_path) == 1
        assert not service.seen
    assert not (tmp_path / "llm_calls.sqlite").exists()


def test_only_the_service_backend_opens_the_recorded_calls(tmp_path: Path) -> None:
    write_volume(tmp_path, {"Ada": ADA})
    assert run_rewards(tmp_path) == 0
    assert not (tmp_path / "llm_calls.sqlite").exists()


def test_the_rewards_of_the_embedded_dataset_follow_its_own_questions(tmp_path: Path) -> None:
    root, name = tmp_path / "dataset_synth", "Ada Beck"
    write_json(root / "world" / "grammar.json", build_grammar(create_people(0, WorldSettings(people=60))[1]))
    write_json(root / "questions_per_topic_train.json", [{"topic": name, "topic_id": 0, "questions": ["Q?"]}])
    write_json(root / "responses" / f"{name}_generations.json", {"Q?": {"responses": ["one", "two"]}})
    claim = {"atom": f"{name}'s home town is Melby.", "is_supported": True, "kind": "claim", "sentence": "", "attribute": "home_town", "value": "Melby"}
    row = {"topic": name, "generation": "one", "score": 1.0, "respond_ratio": 1.0, "decisions": [[claim]], "num_facts_per_response": 1, "init_score": 1.0}
    empty = {**row, "generation": "two", "score": None, "respond_ratio": 0.0, "decisions": [[]], "num_facts_per_response": 0, "init_score": None}
    write_json(root / "factscore_outputs" / f"{name}_fs_out.json", [row, empty])
    answers = {f"Which town does {name} live in?": ["Melby"] * 15 + ["Ilby"] * 5}
    write_json(root / "atomic_qs_samples" / "base_20samples" / f"{name}_samples.json", {"samples": [answers, {}]})
    call = ["--dataset", "synth", "--data-dir", str(tmp_path), "--split", "train"]
    assert run_topics("questions", questions.prepare, argv=call) == 0
    assert run_whole("rewards", rewards.produce, argv=call) == 0
    columns = json.loads((root / "rewards" / "rewards_train_1.json").read_text())[name]["Q?"]
    assert columns["aq_max_conf_avg"] == [0.75, None] and columns["aq_samp_conf_avg"] == [0.75, None] and columns["aq_exp_conf_avg"] == [0.625, None]
    assert json.loads((root / "rewards" / "confidences_train_1.jsonl").read_text())["attribute"] == "home_town"
