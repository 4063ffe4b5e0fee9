"""The benchmarks of the DPO step: what they run on, what they count, and that the ways they compare do the same work."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import CPU, PlainEngine, gradient_of

from dpo.batches import Batching
from dpo.gradient import take_gradient
from dpo.logprobs import Policy, batch_token_logps, response_logps
from dpo.models import load_model, load_tokenizer
from dpo.objectives import Pair, PairData, PreferenceOptimisation
from dpo.tokenise import TokenSequence
from volume.training_settings import DpoSettings

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "bench"))

import bench_dpo  # noqa: E402
import bench_dpo_gpu  # noqa: E402
import trl_dpo  # noqa: E402
from dpo_groups import Shape, make_groups, write_model  # noqa: E402
from plain_dpo import pairwise_loss  # noqa: E402

TOY = bench_dpo_gpu.SHAPES["toy"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_model(folder, TOY)
    return folder


def test_a_prompts_45_pairs_come_together_and_ten_responses_are_in_nine_pairs_each() -> None:
    groups = make_groups(TOY, 3)
    for start in (0, 45, 90):
        pairs = groups.pairs[start : start + 45]
        assert len({frozenset(pair) for pair in pairs}) == 45
        counts = np.bincount(np.array(pairs).ravel())
        assert sorted(counts[counts > 0]) == [9] * 10
        assert len({tuple(groups.sequences[index].ids[: TOY.prompt]) for pair in pairs for index in pair}) == 1
    assert [len(batch) for batch in groups.plan(64, 2)] == [64, 64]
    with pytest.raises(ValueError, match="135 pairs are too few for 3 steps of 64"):
        groups.plan(64, 3)


def test_the_texts_that_another_trainer_is_given_become_the_very_ids(model: Path) -> None:
    groups, tokenizer = make_groups(TOY, 1), load_tokenizer(model)
    texts = groups.texts(groups.pairs)
    for (chosen, rejected), prompt, left, right in zip(groups.pairs, *texts.values(), strict=True):
        assert tokenizer(prompt)["input_ids"] == groups.sequences[chosen].ids[: TOY.prompt].tolist()
        assert tokenizer(prompt + left + tokenizer.eos_token)["input_ids"] == groups.sequences[chosen].ids.tolist()
        assert tokenizer(prompt + right + tokenizer.eos_token)["input_ids"] == groups.sequences[rejected].ids.tolist()


def test_the_plain_loop_has_the_gradient_of_the_trainers_step(model: Path) -> None:
    groups = make_groups(TOY, 2)
    pairs = groups.plan(64, 1)[0]
    plain = load_model(model)
    loss = pairwise_loss(plain, load_model(model), groups.sequences, pairs)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2.0), rel=1e-6)

    policy = Policy(load_model(model), pack=True)
    batching = Batching(policy.packed, 10**6)
    reference = response_logps(policy, batching, groups.sequences, CPU)
    objective = PreferenceOptimisation(PairData(groups.sequences, reference), [[Pair(*pair) for pair in pairs]], DpoSettings())
    engine = PlainEngine(policy)
    take_gradient(engine, batching, objective.share(0, CPU), CPU)
    expected = gradient_of(plain)
    assert float((gradient_of(policy) - expected).norm() / expected.norm()) < 1e-5
    assert engine.forwards == 1


def test_operations_are_counted_for_the_tokens_that_are_run() -> None:
    prompt = [1, 5, 6]
    sequences = [TokenSequence(np.array([*prompt, *response], dtype=np.int32), 3) for response in ([7, 2], [7, 8, 9, 2])]
    shared, apart = (bench_dpo_gpu.Work.of(sequences, how) for how in (True, False))
    assert shared == bench_dpo_gpu.Work(tokens=3 + 1 + 3, targets=6, attended=6 + (3 + 1) + (9 + 6))
    assert apart == bench_dpo_gpu.Work(tokens=5 + 7, targets=6, attended=15 + 28)
    tiny = Shape(hidden=2, layers=1, heads=1, inner=3, vocabulary=5, prompt=3, shortest=2, longest=4)
    assert shared.operations(tiny) == 6 * (7 * (4 * 4 + 3 * 6) + 6 * 10) + 12 * 25 * 2


def test_operations_of_the_matrices_are_those_that_pytorch_counts(model: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    draw = np.random.default_rng(0)
    sequences = [TokenSequence(draw.integers(3, TOY.vocabulary, 12).astype(np.int32), 4) for _ in range(3)]  # of one length: no padding
    policy = Policy(load_model(model))
    with FlopCounterMode(display=False) as counter:
        batch_token_logps(policy, Batching(False, 10**6).collate(sequences)).sum().backward()
    work = bench_dpo_gpu.Work.of(sequences, shared=False)
    counted = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    assert counted == work.operations(TOY) - 12 * work.attended * TOY.hidden * TOY.layers


@pytest.mark.parametrize("way", ["gradient", "rmsprop", "deepspeed"])
def test_the_gpu_script_runs_on_a_processor_at_toy_size(way: str) -> None:
    found = bench_dpo_gpu.measure(way, TOY, 1)
    assert found["loss"] == pytest.approx(np.log(2.0), abs=1e-7)
    assert found["packed"] == 1.0
    assert found["tokens"] > 0 and found["operations"] > 0
    assert re.fullmatch(r".{26} *[\d.]+ +\d+ +[\d.]+% +0\.0 +[\d.]+% +[\d.]+ +[\d.]+ +0\.693147", bench_dpo_gpu.line(way, found))


def test_float32_masters_keep_what_bfloat16_weights_would_lose() -> None:
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = bench_dpo_gpu.MasterRmsprop([weight], lr=1e-3)
    for _ in range(2):
        weight.grad = torch.tensor([3.0, -4.0, 0.0], dtype=torch.bfloat16)
        optimizer.step(max_norm=2.5)  # the norm is 5: the gradient is halved
    # After two steps the mean square is g² (0.01, then 0.99 * 0.01 + 0.01), so the steps are 10 and 1 / sqrt(0.0199) rates.
    moved = 1e-3 * (10 + 1 / np.sqrt(0.0199))
    np.testing.assert_allclose(optimizer.masters[0], [1 - moved, 1 + moved, 1], rtol=1e-6)
    np.testing.assert_allclose(weight.detach().float(), optimizer.masters[0].to(torch.bfloat16).float())
    assert weight.grad is None


def test_trl_is_the_faster_and_the_leaner_of_its_two_ways_in_each_column() -> None:
    mib = 2.0**20
    found = {
        "plain": {"step": 4.0, "memory": 400 * mib, "reference": 0.0, "reference_pairs": 0},
        "trl": {"step": 2.0, "memory": 300 * mib, "reference": 0.0, "reference_pairs": 0},
        "trl-cached": {"step": 1.0, "memory": 200 * mib, "reference": 12.0, "reference_pairs": 8},  # 0.25 s a pair, and 1.5 for the reference
        "ours": {"step": 0.5, "memory": 100 * mib, "reference": 5.625, "reference_pairs": 45},  # 0.125 and 0.125
    }
    lines = "\n".join(bench_dpo.table(4, found, dict.fromkeys(found, 1e-7))).splitlines()
    assert [line.split()[-4:-1] for line in lines[:4]] == [["1.00", "1.00", "400"], ["2.00", "2.00", "300"], ["4.00", "0.57", "200"], ["8.00", "4.00", "100"]]
    assert lines[4].split() == ["of", "TRL's", "2.0x", "2.0x", "0.50x"]
    assert lines[5].split() == ["of", "the", "plain", "loop's", "8.0x", "4.0x", "0.25x"]


def test_trls_lock_adds_to_the_environment_and_changes_nothing_of_it() -> None:
    def names(path: Path) -> set[str]:
        return set(re.findall(r"^([a-z0-9-]+)==", path.read_text(), re.MULTILINE))

    added = names(trl_dpo.LOCK)
    assert "trl" in added
    assert not added & names(ROOT / "dpo" / "locks" / "paper.txt")


def test_without_an_installer_trl_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    folder, trouble = trl_dpo.install(lambda line: None)
    assert folder is None
    assert "make envs" in trouble
