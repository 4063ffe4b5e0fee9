"""Sampling from a local causal language model, the same texts whatever the batches.

A prompt is run once and its keys and values are shared out to its samples. Prompts of one length go together, so there is
no padding, and rows that are finished leave the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confscoring.compat import load_model, repeat_rows, select_rows
from confscoring.draws import uniforms
from volume.settings import SamplingSettings


@dataclass(frozen=True)
class Prompt:
    """One prompt to sample from; ``item`` identifies its draws."""

    item: str
    text: str


@dataclass(frozen=True)
class Sample:
    """A sampled text, cut before the stop string; its length in tokens (EOS not counted); its smallest margin |u - CDF|."""

    text: str
    tokens: int
    margin: float


class Sampler:
    """Samples from the model in a folder.

    Args:
        folder: A Hugging Face model folder.
        dtype: float32, bfloat16 or float16.
        seed, dataset: Identity of the draws.
    """

    def __init__(self, folder: Path, dtype: str, seed: int, dataset: str) -> None:
        self.tokenizer, self.model = load_model(folder, dtype)
        self._seed, self._dataset = seed, dataset
        self._stops: dict[tuple[str, ...], Any] = {}

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, without BOS or EOS."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def sample(self, prompts: Iterable[Prompt], settings: SamplingSettings) -> list[list[Sample]]:
        """Return ``settings.n`` samples of every prompt, in the prompts' order."""
        prompts = list(prompts)
        ids = [self.tokenizer(settings.prefix + prompt.text)["input_ids"] for prompt in prompts]
        results: list[list[Sample]] = [[] for _ in prompts]
        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(ids):
            by_length.setdefault(len(row), []).append(index)
        size = max(1, settings.batch_rows // settings.n)
        for indices in by_length.values():
            for start in range(0, len(indices), size):
                batch = indices[start : start + size]
                rows = self._sample_batch([prompts[index] for index in batch], [ids[index] for index in batch], settings)
                for place, index in enumerate(batch):
                    results[index] = rows[place * settings.n : (place + 1) * settings.n]
        return results

    def _sample_batch(self, prompts: list[Prompt], ids: list[list[int]], settings: SamplingSettings) -> list[Sample]:
        """Sample from prompts of one length; rows are prompt-major."""
        import numpy as np
        import torch

        from confscoring.decoding import choose_tokens

        device = self.model.device
        table = None
        if settings.temperature > 0:
            draws = [
                uniforms(self._seed, self._dataset, prompt.item, sample, settings.max_new_tokens) for prompt in prompts for sample in range(settings.n)
            ]
            table = torch.from_numpy(np.stack(draws)).to(device)
        n_rows = len(prompts) * settings.n
        written: list[list[int]] = [[] for _ in range(n_rows)]
        margins = [1.0] * n_rows
        stops = self._stop_tokens(settings.stop)
        with torch.inference_mode():
            out = self.model(input_ids=torch.tensor(ids, device=device), use_cache=True)
            logits = out.logits[:, -1].float().repeat_interleave(settings.n, dim=0)
            cache = repeat_rows(out.past_key_values, settings.n)
            alive = list(range(n_rows))
            for step in range(settings.max_new_tokens):
                rows = torch.tensor(alive, device=device)
                tokens, lead = choose_tokens(logits, None if table is None else table[rows, step], settings.temperature, settings.top_k, settings.top_p)
                kept = []
                for place, (row, token, margin) in enumerate(zip(alive, tokens.tolist(), lead.tolist(), strict=True)):
                    margins[row] = min(margins[row], margin)
                    if token == self.tokenizer.eos_token_id:
                        continue
                    written[row].append(token)
                    if not (stops is not None and stops[token] and self._stopped(written[row], settings.stop)):
                        kept.append(place)
                if not kept or step + 1 == settings.max_new_tokens:
                    break
                if len(kept) < len(alive):
                    places = torch.tensor(kept, device=device)
                    cache, tokens = select_rows(cache, places), tokens[places]
                    alive = [alive[place] for place in kept]
                out = self.model(input_ids=tokens.unsqueeze(-1), past_key_values=cache, use_cache=True)
                logits, cache = out.logits[:, -1].float(), out.past_key_values
        return [Sample(self._text(row, settings.stop), len(row), margin) for row, margin in zip(written, margins, strict=True)]

    def _text(self, ids: list[int], stop: tuple[str, ...]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for string in stop:
            text = text.split(string, 1)[0]
        return text.strip()

    def _stopped(self, ids: list[int], stop: tuple[str, ...]) -> bool:
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return any(string in text for string in stop)

    def _stop_tokens(self, stop: tuple[str, ...]) -> list[bool] | None:
        """Return, per token id, whether it can complete a stop string: only then the text is worth decoding."""
        if not stop:
            return None
        if stop not in self._stops:
            ends = {string[-1] for string in stop}
            size = max(len(self.tokenizer), int(self.model.config.vocab_size))
            self._stops[stop] = [bool(ends & set(self.tokenizer.decode([token]))) for token in range(size)]
        return self._stops[stop]  # type: ignore[no-any-return]
