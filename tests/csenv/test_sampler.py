"""The sampler on a tiny random model: the same texts whatever the batches, and the right distribution."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from confscoring.sampler import Prompt, Sampler
from confscoring.synthetic.tokenizer import model_config, write_tokenizer
from volume.errors import UsageError
from volume.settings import SamplingSettings

WORDS = {f"w{index}" for index in range(28)} | {"."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**model_config(len(WORDS) + 4, 0.25), "initializer_range": 0.6})
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    write_tokenizer(path, WORDS)
    return path


@pytest.fixture(scope="module")
def sampler(folder: Path) -> Sampler:
    return Sampler(folder, "float32", 0, "toy")


PROMPTS = [Prompt(f"item {index}", " ".join(f"w{(index * 7 + step) % 28}" for step in range(1 + index % 3))) for index in range(9)]


def settings(**changes: object) -> SamplingSettings:
    return SamplingSettings(**{"model": "m", "n": 4, "max_new_tokens": 12, "stop": (".",), **changes})  # type: ignore[arg-type]


def texts(samples: list[list]) -> list[list[str]]:
    return [[sample.text for sample in row] for row in samples]


def test_texts_do_not_depend_on_batch_size_or_order(sampler: Sampler) -> None:
    expected = texts(sampler.sample(PROMPTS, settings()))
    assert len({text for row in expected for text in row}) > 20
    for rows in (1, 5, 8, 64):
        assert texts(sampler.sample(PROMPTS, settings(batch_rows=rows))) == expected
    backwards = texts(sampler.sample(PROMPTS[::-1], settings()))
    assert backwards[::-1] == expected
    assert texts(sampler.sample(PROMPTS[4:5], settings())) == expected[4:5]


def test_fewer_samples_are_the_first_of_more(sampler: Sampler) -> None:
    more = texts(sampler.sample(PROMPTS, settings(n=6)))
    assert texts(sampler.sample(PROMPTS, settings(n=2))) == [row[:2] for row in more]


def test_a_finished_row_is_cut_before_the_stop_string_and_leaves_the_others_alone(sampler: Sampler) -> None:
    stopped = sampler.sample(PROMPTS, settings(n=8))
    free = sampler.sample(PROMPTS, settings(n=8, stop=()))
    assert any("." in sample.text for row in free for sample in row)
    for short, long in zip((s for row in stopped for s in row), (s for row in free for s in row), strict=True):
        assert short.text == long.text.split(".")[0].strip()
        assert short.tokens <= long.tokens <= 12


def test_the_first_token_has_the_models_distribution(sampler: Sampler) -> None:
    prompt = PROMPTS[0]
    ids = torch.tensor([sampler.tokenizer(prompt.text)["input_ids"]])
    with torch.no_grad():
        expected = torch.softmax(sampler.model(ids).logits[0, -1].double(), dim=-1)
    drawn = sampler.sample([prompt], settings(n=4000, max_new_tokens=1, stop=(), batch_rows=4000))[0]
    counts = Counter(sample.text for sample in drawn)
    for token in expected.topk(5).indices.tolist():
        word = sampler.tokenizer.decode([token], skip_special_tokens=True)
        if word:
            share, p = counts[word] / 4000, expected[token].item()
            assert abs(share - p) < 4 * (p * (1 - p) / 4000) ** 0.5


def test_greedy_equals_an_argmax_loop_without_cache(sampler: Sampler) -> None:
    prompt = PROMPTS[1]
    ids = sampler.tokenizer(prompt.text)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        for _ in range(10):
            token = int(sampler.model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == sampler.tokenizer.eos_token_id:
                break
            ids = [*ids, token]
    expected = sampler.tokenizer.decode(ids[start:], skip_special_tokens=True)
    assert sampler.sample([prompt], settings(n=1, temperature=0.0, max_new_tokens=10, stop=()))[0][0].text == expected


def test_one_prompt_is_run_once_for_all_its_samples(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    forward = type(sampler.model).forward

    def spy(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        seen.append(tuple(kwargs["input_ids"].shape))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(sampler.model), "forward", spy)
    sampler.sample(PROMPTS[:1], settings(n=16, stop=()))
    assert seen[0] == (1, 2)  # BOS and one word: once, not sixteen times
    assert all(shape[1] == 1 and shape[0] <= 16 for shape in seen[1:])


def test_margins_are_kept(sampler: Sampler) -> None:
    assert all(0 <= sample.margin < 1 for row in sampler.sample(PROMPTS, settings()) for sample in row)


def test_a_folder_without_a_model_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="holds no model"):
        Sampler(tmp_path, "float32", 0, "toy")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(UsageError, match="cannot be loaded"):
        Sampler(tmp_path, "float32", 0, "toy")
