"""Probes of attention heads: the fit against its definition, a direction planted in a model, and the stage."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_llama

from confscoring import probes
from confscoring.probe_fit import choose_heads, fit_logistic, logistic_loss, mean_shift, probe_accuracy, step_size, with_ones
from confscoring.probes import Fact, after, balance, hold_out
from confscoring.samplers import open_sampler
from confscoring.shifts import apply_shifts, read_heads, read_shifts
from volume.context import open_context
from volume.errors import UsageError, VolumeError
from volume.files import write_json
from volume.paths import DatasetPaths
from volume.stage import run_whole


def draw_features(heads: int = 3, facts: int = 60, size: int = 4, apart: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(facts) % 3 == 0
    features = torch.randn(heads, facts, size, generator=generator) * torch.tensor([1.0, 5.0, 0.1]).view(-1, 1, 1)[:heads] + 2
    features[0, :, 1] += apart * labels
    return features, labels


def test_the_fit_is_the_minimum_of_what_scikit_learn_minimises() -> None:
    """Its gradient there is zero, and a search that knows nothing of derivatives finds no lower place around it."""
    features, labels = draw_features()
    found = fit_logistic(features, labels)
    for head in range(3):
        weights = found[head].clone().requires_grad_()
        margins = (2.0 * labels - 1) * (features[head].double() @ weights[:-1] + weights[-1])
        loss = weights[:-1].square().sum() / 2 + torch.log1p(torch.exp(-margins)).sum()
        (gradient,) = torch.autograd.grad(loss, weights)
        assert float(gradient.abs().max()) < 1e-5
        cost = torch.tensor([1.0] * 4 + [0.0], dtype=torch.float64)
        x = with_ones(features[head : head + 1])
        assert logistic_loss(x, labels.double(), cost, found[head : head + 1]).item() == pytest.approx(loss.item(), rel=1e-12)
        for step in torch.randn(200, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.05:
            assert logistic_loss(x, labels.double(), cost, (found[head] + step).unsqueeze(0)).item() > loss.item()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_the_fit_converges_on_facts_that_a_line_divides(scale: float) -> None:
    features, labels = draw_features(heads=1, apart=40.0)
    weights = fit_logistic(features * scale, labels)
    assert probe_accuracy(features * scale, labels, weights).item() == 1.0 or scale < 1


def test_a_step_that_goes_too_far_is_halved_until_it_lowers_the_loss() -> None:
    features, labels = draw_features(heads=1)
    x, y, cost = with_ones(features), labels.double(), torch.tensor([1.0] * 4 + [0.0], dtype=torch.float64)
    start = torch.zeros(1, 5, dtype=torch.float64)
    slope = (x.mT @ (0.5 - y).unsqueeze(-1)).squeeze(-1)  # the gradient itself as the step: far too long
    size = step_size(x, y, cost, start, slope, (slope * slope).sum(dim=-1))
    losses = [logistic_loss(x, y, cost, start - part * slope).item() for part in (0, 1, float(size))]
    assert losses[2] < losses[0] < losses[1] and size.item() == 2.0 ** round(math.log2(size.item())) < 1


def test_states_that_are_not_finite_are_a_clear_error() -> None:
    features, labels = draw_features()
    with pytest.raises(VolumeError, match="do not converge"):
        fit_logistic(features.where(features < 8, torch.tensor(torch.nan)), labels)


def test_the_best_heads_come_first_and_of_equals_the_earlier() -> None:
    accuracy = torch.tensor([[0.5, 0.8, 0.6], [0.8, 0.9, 0.5]])
    assert choose_heads(accuracy, 4) == [(1, 1), (0, 1), (1, 0), (0, 2)]
    assert len(choose_heads(accuracy, 48)) == 6


def test_a_shift_points_from_the_mean_of_false_to_that_of_true() -> None:
    outputs = torch.tensor([[3.0, 4.0], [3.0, 6.0], [0.0, 0.0], [0.0, 2.0]])
    direction, sigma = mean_shift(outputs, torch.tensor([True, True, False, False]))
    assert direction.tolist() == pytest.approx([0.6, 0.8])
    along = [0.6 * a + 0.8 * b for a, b in outputs.tolist()]
    mean = sum(along) / 4
    assert sigma == pytest.approx((sum((value - mean) ** 2 for value in along) / 4) ** 0.5)
    nowhere, _ = mean_shift(torch.ones(4, 2), torch.tensor([True, True, False, False]))
    assert nowhere.tolist() == [0, 0]


def some_facts(topics: int, true: int, false: int) -> list[Fact]:
    return [Fact(f"t{topic}", "Who?", f"fact {number} of {topic}", number < true) for topic in range(topics) for number in range(true + false)]


def test_facts_are_balanced_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = some_facts(10, 7, 3)
    drawn = balance(facts, 0, "toy")
    assert sum(fact.true for fact in drawn) == sum(not fact.true for fact in drawn) == 30
    assert set(balance(facts[::-1], 0, "toy")) == set(drawn) != set(balance(facts, 1, "toy"))
    assert len({fact.topic for fact in drawn if fact.true}) > 5
    monkeypatch.setattr(probes, "_MOST", 25)
    assert len(balance(facts, 0, "toy")) == 50 and set(balance(facts, 0, "toy")) < set(drawn)
    with pytest.raises(UsageError, match="70 true and 10 false facts of the training topics: probes need 20 of each"):
        balance(some_facts(10, 7, 1), 0, "toy")


def test_one_topic_in_five_is_held_out_whole() -> None:
    facts = some_facts(10, 2, 2)
    held = {fact.topic for fact, chosen in zip(facts, hold_out(facts, 0, "toy").tolist(), strict=True) if chosen}
    kept = {fact.topic for fact, chosen in zip(facts, hold_out(facts, 0, "toy").tolist(), strict=True) if not chosen}
    assert len(held) == 2 and len(kept) == 8 and not held & kept
    with pytest.raises(UsageError, match="the facts are of 1 topics, of which 1 are held out"):
        hold_out(some_facts(1, 20, 20), 0, "toy")


def test_a_fact_stands_a_space_after_its_prompt() -> None:
    assert after("Who?", "She drew.") == "Who? She drew."
    assert after("<user>Who?<model>\n", "She drew.") == "<user>Who?<model>\nShe drew."


CITIES = ("Ostrel", "Kelford", "Tarwick", "Rubyquill")


def write_world(folder: Path, people: int = 20) -> DatasetPaths:
    """Write a definition with a run `iti`, a tiny Llama, and scored facts: those about towns are true, those about dogs false."""
    make_llama(folder / "models" / "tiny", kv_heads=4)
    (folder / "mine.toml").write_text(
        'name = "mine"\ndescription = "d"\nsplits = ["train", "test"]\n[models.tiny]\npath = "models/tiny"\n'
        '[responses]\nmodel = "tiny"\nn = 2\nmax_new_tokens = 8\n[decoders.heads]\nkind = "iti"\nheads = 3\nstrength = 5.0\n'
        '[runs.base]\nkind = "base"\nlabel = "b"\n[runs.iti]\nkind = "decode"\nstart = "base"\ndecoder = "heads"\nlabel = "i"\n'
    )
    paths = DatasetPaths(folder / "dataset_mine")
    names = [f"Person {number}" for number in range(people)]
    write_json(paths.questions("train"), [{"topic": name, "topic_id": place, "questions": [f"Who is {name}?", f"What of {name}?"]} for place, name in enumerate(names)])
    for place, name in enumerate(names):
        town = CITIES[place % 4]
        write_json(paths.responses(name), {f"Who is {name}?": {"responses": ["a", "b"]}, f"What of {name}?": {"responses": ["c"]}})
        write_json(paths.factscore(name), [
            scored("a", fact(f"{name} lives in {town}", True), fact(f"{name} has dogs", False)),
            scored("b", fact(f"{name} lives in {town}", True), fact("some town or other", True, kind="vague"), fact(f"{name} may be", False, undecided=True)),
            scored("c", fact(f"{name} taught in {town}", True), fact(f"{name} taught two dogs", False)),
        ])  # fmt: skip
    return paths


def fact(atom: str, supported: bool, **more: Any) -> dict[str, Any]:
    return {"atom": atom, "is_supported": supported, **more}


def scored(text: str, *decisions: dict[str, Any]) -> dict[str, Any]:
    return {"topic": "t", "generation": text, "score": 1.0, "respond_ratio": 1.0, "decisions": [list(decisions)], "num_facts_per_response": 1.0, "init_score": 1.0}


def run_probes(folder: Path, *more: str) -> int:
    arguments = ["--dataset", str(folder / "mine.toml"), "--data-dir", str(folder), "--run", "iti", "--split", "train", *more]
    return run_whole("probes", probes.produce, argv=arguments)


def test_the_stage_shifts_the_heads_that_tell_true_from_false(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_world(tmp_path)
    read: list[Any] = []
    monkeypatch.setattr(probes, "read_heads", lambda model, texts: read.append((model, texts)) or read_heads(model, texts))
    fitted: list[int] = []
    monkeypatch.setattr(probes, "fit_logistic", lambda features, labels: fitted.append(features.shape[1]) or fit_logistic(features, labels))
    assert run_probes(tmp_path) == 0, capsys.readouterr().err
    assert fitted == [64, 64]  # per layer, the facts that are not held out
    record = json.loads((paths.probes("iti") / "probes.json").read_text())
    assert (record["true"], record["false"], record["topics"], record["held_out_topics"]) == (40, 40, 20, 4) and record["held_out_facts"] == 16
    assert record["chance"] == 0.5 and [len(row) for row in record["accuracy"]] == [4, 4]
    best = max(value for row in record["accuracy"] for value in row)
    assert record["chosen"][0]["accuracy"] == best > 0.9 and len(record["chosen"]) == 3
    manifest = json.loads(paths.manifest("probes-iti").read_text())
    assert manifest["counts"]["true"] == manifest["counts"]["false"] == 40 and manifest["counts"]["heads"] == 3
    # Every shift against the definition, from the outputs of the heads.
    model, texts = read[0]
    outputs = read_heads(model, texts)
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "models" / "tiny")
    said = [tokenizer.decode(text, skip_special_tokens=True) for text in texts]
    assert said[:4] == [f"{question} {atom}" for question, atom in (
        ("Who is Person 0?", "Person 0 lives in Ostrel"), ("Who is Person 0?", "Person 0 has dogs"),
        ("What of Person 0?", "Person 0 taught in Ostrel"), ("What of Person 0?", "Person 0 taught two dogs"),
    )]  # fmt: skip
    true = torch.tensor(["dogs" not in text for text in said])
    shifts = read_shifts(paths.probes("iti"), "iti")
    for layer in range(2):
        expected = torch.zeros(4, 8)
        for chosen in (chosen for chosen in record["chosen"] if chosen["layer"] == layer):
            head = outputs[layer][chosen["head"]].double()
            theta = head[true].mean(0) - head[~true].mean(0)
            theta = theta / theta.norm()
            assert chosen["sigma"] == pytest.approx(float((head @ theta).std(correction=0)))
            expected[chosen["head"]] = (5.0 * chosen["sigma"] * theta).float()
        torch.testing.assert_close(shifts.get(layer, torch.zeros(32)), expected.flatten())
    files = {path.name: path.read_bytes() for path in paths.probes("iti").iterdir()}
    paths.manifest("probes-iti").unlink()
    assert run_probes(tmp_path) == 0 and {path.name: path.read_bytes() for path in paths.probes("iti").iterdir()} == files


def test_a_planted_direction_is_found_and_the_shift_makes_the_model_go_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Head 2 of the first layer reads the mean of eight numbers of all tokens' embeddings; the others read nothing."""
    paths = write_world(tmp_path)
    import transformers

    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "models" / "tiny").eval()
    with torch.no_grad():
        for layer in model.model.layers:
            for projection in (layer.self_attn.v_proj, layer.self_attn.q_proj):
                projection.weight.zero_()
        model.model.layers[0].self_attn.v_proj.weight[16:24] = torch.eye(32)[:8]
    model.save_pretrained(tmp_path / "models" / "tiny")
    assert run_probes(tmp_path) == 0, capsys.readouterr().err
    record = json.loads((paths.probes("iti") / "probes.json").read_text())
    accuracy = {(layer, head): value for layer, row in enumerate(record["accuracy"]) for head, value in enumerate(row)}
    assert accuracy.pop((0, 2)) > 0.75 and set(accuracy.values()) == {0.5}
    assert [(chosen["layer"], chosen["head"]) for chosen in record["chosen"]] == [(0, 2), (0, 0), (0, 1)]  # of equals the earlier ones
    assert [chosen["sigma"] > 0 for chosen in record["chosen"]] == [True, False, False]
    # "dogs" is what false facts end with: the shift must make the head's outputs less like those after it.
    shifts = read_shifts(paths.probes("iti"), "iti")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "models" / "tiny")
    true, false = (tokenizer(f"Who is Ada? Ada {end}")["input_ids"] for end in ("lives in Ostrel", "has dogs"))
    outputs = read_heads(model, [tuple(true), tuple(false)])[0][2]
    assert float((outputs[0] - outputs[1]) @ shifts[0][16:24]) > 0
    before = model(torch.tensor([false])).logits
    apply_shifts(model, shifts)
    assert float((model(torch.tensor([false])).logits - before).abs().max()) > 1e-2


def test_the_runs_responses_are_sampled_with_the_shift(tmp_path: Path) -> None:
    write_world(tmp_path)
    assert run_probes(tmp_path) == 0
    write_json(DatasetPaths(tmp_path / "dataset_mine").questions("test"), [])
    shifted = {}
    for run in ("base", "iti"):
        ctx = open_context("responses", ["--dataset", str(tmp_path / "mine.toml"), "--data-dir", str(tmp_path), "--run", run, "--split", "test"])
        assert ctx.definition.responses
        model = open_sampler(ctx, ctx.definition.responses, run).model  # type: ignore[attr-defined]
        shifted[run] = {layer for layer, block in enumerate(model.model.layers) if block.self_attn.o_proj.bias is not None}
    assert shifted == {"base": set(), "iti": set(read_shifts(ctx.paths.probes("iti"), "iti"))} and shifted["iti"]


def test_topics_that_were_not_scored_are_counted_and_too_few_facts_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_world(tmp_path)
    for number in range(3):
        paths.factscore(f"Person {number}").unlink()
    assert run_probes(tmp_path) == 0
    assert json.loads(paths.manifest("probes-iti").read_text())["counts"]["missing"] == 3
    paths.manifest("probes-iti").unlink()
    assert run_probes(tmp_path, "--limit", "5") == 2
    assert "4 true and 4 false facts of the training topics: probes need 20 of each" in capsys.readouterr().err


def test_scores_of_other_responses_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_world(tmp_path)
    write_json(paths.responses("Person 1"), {"Who is Person 1?": {"responses": ["a", "c", "b"]}})
    assert run_probes(tmp_path) == 1
    assert "does not score the responses of" in capsys.readouterr().err
