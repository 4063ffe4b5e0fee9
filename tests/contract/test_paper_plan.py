"""A plan counts work from the definition: numbers worked out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from volume import paper_plan
from volume.datasets import as_json, load_definition
from volume.errors import UsageError
from volume.files import write_json
from volume.paper_costs import Costs, gpu_seconds, measured_rates, parameters_of, read_costs
from volume.paper_work import Sizes, Work, work_of
from volume.paths import DatasetPaths
from volume.step import Step
from volume.steps import build_steps

SIZES = Sizes({"train": 3, "dpoval": 1, "val": 1, "test": 2}, questions=1, facts=20, tokens=80)


@pytest.fixture(scope="module")
def steps() -> dict[str, Step]:
    return build_steps(load_definition("bio"), DatasetPaths(Path("/nowhere/dataset_bio")), Path("/nowhere"))


def work(step: Step, sizes: Sizes = SIZES) -> Work:
    return work_of(step, load_definition("bio"), sizes, read_costs())


def test_responses_are_topics_times_samples_times_tokens(steps: dict[str, Step]) -> None:
    assert work(steps["responses-train"]).tokens == {("sample", "llama1"): 3 * 10 * (80 + 20)}
    # One sampled and one greedy response to each of two test topics; of Llama-2 where the run is.
    assert work(steps["eval-responses-llama2_sft"]).tokens == {("sample", "llama2"): 2 * 2 * 100}


def test_scoring_asks_once_a_sentence_and_reads_a_prompt_for_every_fact(steps: dict[str, Step]) -> None:
    found = work(steps["factscore-train"])
    assert found.calls == 3 * 10 * 6
    assert (found.prompt_tokens, found.reply_tokens) == (180 * 409, 180 * 80)
    assert found.tokens == {("forward", "inst-llama"): 600 * 1733, ("forward", "npm"): 600 * 768}


def test_questions_and_answers_are_of_every_fact(steps: dict[str, Step]) -> None:
    assert work(steps["questions-train"]).calls == 600
    assert work(steps["answers-train"]).tokens == {("sample", "llama1"): 600 * (20 * 15 + 20)}
    # A policy is asked back about its greedy responses alone: two topics, 20 facts each.
    assert work(steps["eval-questions-factscore"]).calls == 40


def test_training_counts_all_responses_or_all_pairs(steps: dict[str, Step]) -> None:
    # Activation checkpointing runs each layer once more: 8 calculations per parameter and token in place of 6.
    assert work(steps["train-sft"]).tokens == {("train", "llama1"): pytest.approx(3 * 10 * 100 * 4 / 3)}
    # 45 pairs of two responses each, and the reference once a response.
    assert work(steps["train-llama2_factscore"]).tokens == {("train", "llama2"): pytest.approx(3 * 90 * 100 * 4 / 3), ("forward", "llama2"): 3 * 10 * 100}


def test_judging_and_comparing_by_a_service_are_calls(steps: dict[str, Step]) -> None:
    assert work(steps["judge-chat-sft"]).calls == 2 * 2 * 20
    definition = load_definition("bio-ablation-llm")
    own = build_steps(definition, DatasetPaths(Path("/nowhere/dataset_x")), Path("/nowhere"))
    assert work_of(own["rewards-train"], definition, SIZES, read_costs()).calls == 600 * 15


def test_entities_are_sampled_anew_where_the_dataset_has_them() -> None:
    definition = load_definition("bio-ablation")
    own = build_steps(definition, DatasetPaths(Path("/nowhere/dataset_x")), Path("/nowhere"))
    assert work_of(own["entities-train"], definition, SIZES, read_costs()).tokens == {("sample", "llama1"): 30 * 12 * (20 * 4 + 40)}


def test_time_is_calculations_over_the_cards_pace_or_a_measured_rate() -> None:
    definition = load_definition("bio")
    costs = read_costs()
    parameters = parameters_of(definition, "llama1", costs)
    assert parameters == 12.6 * 2**30 / 2
    assert gpu_seconds("train", "llama1", 1000, definition, costs, {}) == pytest.approx(6 * parameters * 1000 / (312e12 * 0.35))
    assert gpu_seconds("sample", "llama1", 1000, definition, costs, {}) == pytest.approx(2 * parameters * 1000 / (312e12 * 0.05))
    assert gpu_seconds("sample", "llama1", 1000, definition, costs, {("sample", "llama1"): 50.0}) == 20.0
    assert costs.used["card.peak_tflops"][1].startswith("assumed: ")


def test_a_rate_comes_from_manifests_of_the_same_model_on_a_card(tmp_path: Path) -> None:
    definition = load_definition("bio")

    def add(name: str, tokens: int, seconds: float, gpus: list[str], path: str = "models/llama-7b") -> None:
        used = as_json(definition)
        used["models"]["llama1"]["path"] = path
        write_json(tmp_path / "dataset_bio" / "manifests" / f"{name}.json", {
            "format": 1, "command": ["confscoring.responses", "--split", "train"], "counts": {"tokens": tokens}, "seconds": seconds,
            "environment": {"gpus": gpus}, "definition": used,
        })  # fmt: skip

    add("on-cpu", 10, 1, [])
    add("other-model", 10, 1, ["card"], "models/tiny")
    assert measured_rates(tmp_path, definition) == {}
    add("one-card", 3000, 10, ["card"])
    add("two-cards", 5000, 5, ["card", "card"])
    assert measured_rates(tmp_path, definition) == {("sample", "llama1"): 8000 / 20}


def test_own_unit_costs_lie_over_these_and_faults_are_named(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text('[card]\npeak_tflops = { value = 989, measured = "here" }\n')
    costs = read_costs(own)
    assert costs.of("card.peak_tflops") == 989 and costs.used["card.peak_tflops"] == (989, "measured: here")
    assert costs.of("card.train_utilisation") == 0.35
    faults = {"[card]\npeak = 1\n": "card.peak: no such unit cost", "[card]\npeak_tflops = 1\n": "card.peak_tflops: expected", "[card": "expected a TOML file"}
    for text, message in faults.items():
        own.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_costs(own)


def test_every_unit_cost_says_where_it_is_from() -> None:
    def check(section: dict[str, object], place: str) -> None:
        for key, entry in section.items():
            assert isinstance(entry, dict), place
            if "value" in entry:
                assert len({"measured", "assumed"} & entry.keys()) == 1, f"{place}.{key}"
            else:
                check(entry, f"{place}.{key}")

    check(dict(read_costs().raw), "")


def test_rows_share_what_they_have_in_common_and_seeds_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def hours(*words: str) -> dict[tuple[str, str], list[str]]:
        assert paper_plan.main(["--table", "2", "--data-dir", str(tmp_path), "--dataset", "bio", *words]) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        return {(line[0], line[1]): line[2:] for line in lines if line and line[0] == "bio"}

    one = hours("--rows", "llama1-fs", "--seeds", "1")
    two = hours("--rows", "llama1-fs,llama2-fs", "--seeds", "1")
    three = hours("--rows", "llama1-fs", "--seeds", "3")
    assert one["bio", "factscore"] == two["bio", "factscore"]
    assert int(two["bio", "train"][0]) == 2 * int(one["bio", "train"][0]) == 4  # SFT and DPO of each model
    assert int(three["bio", "factscore"][0]) == 3 * int(one["bio", "factscore"][0])
    # 298 topics of train and dpoval, ten responses, 22 facts each.
    assert one["bio", "questions"][3] == "65,560"
    assert one["bio", "questions"][-1] == f"{65560 * (634 * 0.5 + 30 * 1.5) / 1e6:,.2f}"  # at the definition's list price


@pytest.mark.parametrize(("prices", "money"), [((2, 4), f"{65560 * (634 * 2 + 30 * 4) / 1e6:,.2f}"), ((0, 0), "no prices")])
def test_prices_of_the_definition_make_it_money(tmp_path: Path, capsys: pytest.CaptureFixture[str], prices: tuple[int, int], money: str) -> None:
    own = tmp_path / "priced.toml"
    own.write_text(f'extends = "bio"\nname = "priced"\n[llm]\ninput_price = {prices[0]}\noutput_price = {prices[1]}\n')
    assert paper_plan.main(["--table", "2", "--rows", "llama1-fs", "--dataset", str(own), "--seeds", "1", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if " questions " in line)
    assert line.endswith(f" {money}") and ("no prices" in out) == (money == "no prices")
    assert ("priced.toml: [llm] input_price, output_price = 2, 4 US dollars per million tokens" in out) == (prices == (2, 4))


def test_a_plan_without_a_table_or_of_human_raters_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paper_plan.main(["--data-dir", str(tmp_path)]) == 2
    assert "needs TABLE, e.g. make plan TABLE=2" in capsys.readouterr().err
    assert paper_plan.main(["--table", "6", "--rows", "human", "--data-dir", str(tmp_path)]) == 2
    assert "there is nothing to plan" in capsys.readouterr().err


def test_models_count_once_and_policies_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def disk(*words: str) -> str:
        assert paper_plan.main(["--table", "2", "--data-dir", str(tmp_path), "--dataset", "bio", *words]) == 0
        return "".join(line for line in capsys.readouterr().out.splitlines() if line.startswith("Disk"))

    # Two policies of 12.6 GiB in 16 bit; Llama-1, the verifier, the retriever and NPM: 12.6 + 12.6 + 0.7 + 1.4; checkpoints 2 x 6.3 x (2 + 4 + 4).
    one = disk("--rows", "llama1-fs", "--seeds", "1")
    assert "models 27" in one and "policies 25," in one and "knowledge base 20" in one and "checkpoints while one is trained 126" in one
    assert "models 27" in disk("--rows", "llama1-fs", "--seeds", "2") and "policies 50," in disk("--rows", "llama1-fs", "--seeds", "2")


def test_a_unit_cost_is_only_told_where_it_was_used() -> None:
    costs = Costs({"a": {"value": 1, "assumed": "x"}, "b": {"value": 2, "assumed": "y"}})
    assert dataclasses.replace(costs).used == {}
    costs.of("a")
    assert list(costs.used) == ["a"]
