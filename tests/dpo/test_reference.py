"""Reference log-probabilities: once per response, shared by all runs that start from the model, and never another model's."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import CPU, random_group

from dpo.batches import Batching
from dpo.logprobs import Policy, response_logps
from dpo.models import load_model
from dpo.reference import model_hash, reference_logps
from dpo.tokenise import TokenSequence
from volume.errors import VolumeError

BATCHING = Batching(True, 64)


class Counting:
    """A policy that counts the sequences it is asked about."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.targets = policy, 0

    def __call__(self, *parts: torch.Tensor) -> torch.Tensor:
        self.targets += len(parts[2])
        result: torch.Tensor = self.policy(*parts)
        return result


def some_sequences(seed: int = 0) -> list[TokenSequence]:
    draw = np.random.default_rng(seed)
    return [sequence for _ in range(3) for sequence in random_group(draw, 4)]


def test_each_response_is_run_once_whatever_run_asks(start: Path, tmp_path: Path) -> None:
    path, sequences = tmp_path / "logps" / "model.json", some_sequences()
    counting = Counting(Policy(load_model(start), pack=True))
    lines: list[str] = []
    first = reference_logps(path, counting, BATCHING, sequences[:8], CPU, lines.append)
    assert counting.targets == sum(sequence.targets for sequence in sequences[:8])
    again = reference_logps(path, counting, BATCHING, sequences[:8][::-1], CPU, lines.append).flip(0)
    assert counting.targets == sum(sequence.targets for sequence in sequences[:8])
    more = reference_logps(path, counting, BATCHING, sequences, CPU, lines.append)
    assert counting.targets == sum(sequence.targets for sequence in sequences)
    expected = response_logps(counting.policy, BATCHING, sequences, CPU)
    assert torch.equal(first, again) and torch.equal(more, expected) and torch.equal(first, expected[:8])
    assert lines == ["reference log-probabilities of 8 responses", "reference log-probabilities of 4 responses; 8 were known"]


def test_the_file_is_the_same_whatever_the_order_in_which_runs_asked(start: Path, tmp_path: Path) -> None:
    policy, sequences = Policy(load_model(start), pack=True), some_sequences()
    for name, parts in (("one", (sequences[:5], sequences)), ("other", (sequences[3:], sequences[:9]))):
        for part in parts:
            reference_logps(tmp_path / name, policy, BATCHING, part, CPU, lambda line: None)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert len(json.loads((tmp_path / "one").read_text())) == len({sequence.key for sequence in sequences})


def ask(start: Path, path: Path, first: int) -> None:
    torch.set_num_threads(1)
    reference_logps(path, Policy(load_model(start), pack=True), BATCHING, some_sequences()[first : first + 8], CPU, lambda line: None)


def test_runs_that_ask_at_the_same_time_lose_nothing(start: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    group = [context.Process(target=ask, args=(start, tmp_path / "model.json", first)) for first in (0, 4)]
    for process in group:
        process.start()
    for process in group:
        process.join(240)
        assert process.exitcode == 0
    assert set(json.loads((tmp_path / "model.json").read_text())) == {sequence.key for sequence in some_sequences()}


def test_masks_are_part_of_what_is_kept(start: Path, tmp_path: Path) -> None:
    whole, policy = max(some_sequences(), key=lambda sequence: sequence.targets), Policy(load_model(start), pack=True)
    masks = (np.arange(whole.targets) == 0, np.arange(whole.targets) == whole.targets - 1)
    masked = TokenSequence(whole.ids, whole.prompt_length, masks)
    for _ in range(2):
        plain, (chosen, rejected) = reference_logps(tmp_path / "model.json", policy, BATCHING, [whole, masked], CPU, lambda line: None)
        assert plain[0] == plain[1] and chosen > plain[0] and rejected > plain[0] and chosen != rejected


def test_another_type_form_configuration_or_weight_is_another_reference(start: Path, tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes((start / "model.safetensors").read_bytes())
    config = tmp_path / "config.json"
    config.write_bytes((start / "config.json").read_bytes())
    hashes = [model_hash([weights], config, "float32", True), model_hash([weights], config, "bfloat16", True), model_hash([weights], config, "float32", False)]
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    hashes.append(model_hash([weights], config, "float32", True))
    config.write_text(config.read_text() + " ")
    hashes.append(model_hash([weights], config, "float32", True))
    assert len(set(hashes)) == 5


def test_a_reference_that_gives_no_number_is_told(start: Path, tmp_path: Path) -> None:
    model = load_model(start)
    with torch.no_grad():
        model.base_model.norm.weight[0] = float("nan")
    with pytest.raises(VolumeError, match="the reference gives 12 responses no finite log-probability"):
        reference_logps(tmp_path / "model.json", Policy(model, pack=True), BATCHING, some_sequences(), CPU, lambda line: None)
    assert not (tmp_path / "model.json").exists()


@pytest.mark.parametrize("content", ["[]", "{", '{"a": "b"}', '{"a": null}'])
def test_a_broken_file_is_told_with_its_remedy(start: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(VolumeError, match=r"model\.json cannot be read .*Delete it"):
        reference_logps(tmp_path / "model.json", Policy(load_model(start), pack=True), BATCHING, some_sequences(), CPU, lambda line: None)
