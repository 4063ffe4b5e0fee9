"""Sampling from a local causal language model, the same texts whatever the batches.

What prompts have in common (a few-shot prefix, the response before an entity) is run once and attended to without a copy; a
prompt's own tokens are run once and its samples take them over; finished rows leave the batch. Prompts with equally many own
tokens go together, so there is no padding.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confscoring.batches import Work, close_gaps, count_shared, take_batch
from confscoring.compat import EarlyLayers, count_positions, find_parts, load_model, open_runner
from confscoring.draws import uniforms
from confscoring.sampling import Prompt, Sample
from confscoring.stops import Stops
from volume.errors import ItemError, UsageError
from volume.settings import DecoderSettings, SamplingSettings


@dataclass
class Forwards:
    """Tokens run through the model: of shared texts, of prompts' own tokens, of samples."""

    shared: int = 0
    prompts: int = 0
    samples: int = 0


@dataclass
class _Row:
    """A text in the making."""

    tokens: list[int] = field(default_factory=list)
    margin: float = 1.0


class Sampler:
    """Samples from the model in a folder.

    Args:
        folder: A Hugging Face model folder.
        dtype: float32, bfloat16 or float16.
        seed, dataset: Identity of the draws.
        device_map: How a model that one card does not hold is shared out: auto, balanced or sequential.
        dola: Tokens are drawn by the contrast of the last layer with an earlier one; None: by the model's own probabilities.

    Raises:
        UsageError: The model cannot be loaded, or lacks the layers that are contrasted.
    """

    def __init__(self, folder: Path, dtype: str, seed: int, dataset: str, device_map: str = "", dola: DecoderSettings | None = None) -> None:
        self.tokenizer, self.model = load_model(folder, dtype, device_map)
        self.forwards = Forwards()
        self._runner: Any = open_runner(self.model)  # each kind takes its own kind of cache
        self._dola, self._early = dola, _watch_layers(self.model, dola) if dola else None
        self._positions = count_positions(self.model)
        self._seed, self._dataset = seed, dataset
        self._stops = Stops(self.tokenizer, int(self.model.config.vocab_size))
        self._ends = _end_tokens(self.tokenizer, self.model)
        self._texts: dict[tuple[int, ...], list[tuple[Any, Any]]] = {}  # keys and values of the text that was shared last
        self._fitting = sys.maxsize  # rows that memory was found to hold

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, without BOS or EOS."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings, shared: str | None = None) -> list[list[Sample] | ItemError]:
        """Return ``settings.n`` samples of every prompt, in the prompts' order; an ItemError for one that the model has no room for.

        Args:
            shared: A text that the prompts begin with, whole or in part; None: the settings' prefix.

        Raises:
            UsageError: Memory does not hold even one row.
        """
        import torch

        common = self._encode(settings.prefix if shared is None else shared)[: self._positions]  # what is beyond, no prompt has room for
        ids = [self._encode(settings.prefix + prompt.text) for prompt in prompts]
        results: list[list[Sample] | ItemError] = [[] for _ in prompts]
        by_length: dict[tuple[int, int], list[Work]] = {}
        for index, (prompt, own) in enumerate(zip(prompts, ids, strict=True)):
            steps = min(prompt.max_new_tokens or settings.max_new_tokens, settings.max_new_tokens)
            if not own:
                results[index] = ItemError("an empty prompt, and the model's tokenizer puts no token before a text: nothing to go on from.")
            elif self._positions is not None and len(own) + steps > self._positions:
                results[index] = ItemError(f"the prompt has {len(own)} tokens, {steps} are to be sampled, and the model takes {self._positions}.")
            else:
                seen = count_shared(common, own) if self._runner.shares else 0
                by_length.setdefault((len(own) - seen, steps), []).append(Work(index, prompt, own[seen:], seen, range(settings.n)))
        with torch.inference_mode():
            for (_, steps), works in by_length.items():
                waiting = works[::-1]
                while waiting:
                    for work, samples in self._run_fitting(waiting, common, settings, steps):
                        found = results[work.index]
                        assert isinstance(found, list)
                        found += samples
        return results

    def _run_fitting(self, waiting: list[Work], common: tuple[int, ...], settings: SamplingSettings, steps: int) -> list[tuple[Work, list[Sample]]]:
        """Take a batch off the end of ``waiting`` and return its samples.

        One that memory does not hold is put back and nothing is returned; this and all later batches are half as large.

        Raises:
            UsageError: It was a single row.
        """
        import torch

        batch = take_batch(waiting, min(settings.batch_rows, self._fitting))
        rows = sum(len(work.samples) for work in batch)
        try:
            samples = self._sample_batch(batch, common, settings, steps)
            n = len(batch[0].samples)
            return [(work, samples[place * n : (place + 1) * n]) for place, work in enumerate(batch)]
        except RuntimeError as error:
            if not isinstance(error, torch.cuda.OutOfMemoryError) and "allocate memory" not in str(error):  # the second is a CPU's
                raise
            if rows == 1:
                raise UsageError(
                    f"memory does not hold the model and one text of {batch[0].seen + len(batch[0].own) + steps} tokens. "
                    "A smaller model or dtype, device_map under [models], or another card is needed."
                ) from error
        # Only here are the failed batch's tensors, which the error held, free.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._fitting = rows // 2
        print(f"memory does not hold {rows} rows; going on with {self._fitting}", file=sys.stderr, flush=True)
        waiting += batch[::-1]
        return []

    def _sample_batch(self, works: list[Work], common: tuple[int, ...], settings: SamplingSettings, steps: int) -> list[Sample]:
        """Sample from prompts with equally many own tokens; samples are prompt-major."""
        import torch

        shared = self._share(common) if any(work.seen for work in works) else None
        device = self.model.get_input_embeddings().weight.device
        own = torch.tensor([work.own for work in works], device=device)
        seen = torch.tensor([work.seen for work in works], device=device)
        all_seen = shared is None or all(work.seen == shared[0][0].shape[1] for work in works)
        cache = self._runner.start(own.shape[1], shared, None if all_seen else seen)
        scores, lead = self._score(self._runner.run(own, seen.unsqueeze(-1) + torch.arange(own.shape[1], device=device), cache))
        self.forwards.prompts += own.numel()
        n = len(works[0].samples)
        cache = cache.repeat(n, own.shape[1] + steps - 1)
        scores, lead = scores.repeat_interleave(n, dim=0), None if lead is None else lead.repeat_interleave(n)
        present = self._mark_tokens(works, common, scores) if self._dola and self._dola.repetition_penalty > 1 else None
        positions = (seen + own.shape[1]).repeat_interleave(n)
        table = self._draws(works, steps, scores.device) if settings.temperature > 0 else None
        rows = [_Row() for _ in positions]
        alive = list(range(len(rows)))  # the row that stands at each place of the cache
        for step in range(steps):
            draws = None if table is None else table[torch.tensor(alive, device=table.device), step]
            tokens, margins = self._choose(scores, lead, present, draws, settings)
            going = [self._take(rows[row], token, margin, settings) for row, token, margin in zip(alive, tokens.tolist(), margins.tolist(), strict=True)]
            if not any(going) or step + 1 == steps:
                break
            order = close_gaps(going)
            if len(order) < len(alive):
                moved = [(place, source) for place, source in enumerate(order) if place != source]
                holes, movers = (torch.tensor([pair[part] for pair in moved], dtype=torch.long, device=device) for part in (0, 1))
                cache.fill(holes, movers, len(order))
                alive = [alive[place] for place in order]
                kept = torch.tensor(order, device=tokens.device)
                tokens, present = tokens[kept], None if present is None else present[kept]
            at = positions[torch.tensor(alive, device=device)] + step
            scores, lead = self._score(self._runner.run(tokens.to(device).unsqueeze(-1), at.unsqueeze(-1), cache))
            self.forwards.samples += len(alive)
        return [Sample(self._stops.cut(row.tokens, settings.stop), len(row.tokens), row.margin, self._stops.raw(row.tokens, settings.stop)) for row in rows]

    def _score(self, logits: Any) -> tuple[Any, Any]:
        """Return what tokens are drawn by, of the same shape, and by how much a contrast was decided; None where there is none."""
        if self._dola is None or self._early is None:
            return logits, None
        from confscoring.contrast import contrast

        return contrast(logits, self._early.logits(), self._dola.alpha)

    def _choose(self, scores: Any, lead: Any, present: Any, draws: Any, settings: SamplingSettings) -> tuple[Any, Any]:
        """Return every row's next token and its margin; add the tokens to those present."""
        import torch

        from confscoring.decoding import choose_tokens

        if self._dola is not None and present is not None:
            from confscoring.contrast import penalise

            scores = penalise(scores, present, self._dola.repetition_penalty)
        tokens, margins = choose_tokens(scores, draws, settings.temperature, settings.top_k, settings.top_p)
        if present is not None:
            present.scatter_(-1, tokens.unsqueeze(-1), True)
        return tokens, margins if lead is None else torch.minimum(margins, lead)

    def _mark_tokens(self, works: list[Work], common: tuple[int, ...], scores: Any) -> Any:
        """Return which tokens stand in the prompt of every row, of the shape of the scores."""
        import torch

        present = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
        for place, work in enumerate(works):
            rows = slice(place * len(work.samples), (place + 1) * len(work.samples))
            present[rows, list({*common[: work.seen], *work.own})] = True
        return present

    def _take(self, row: _Row, token: int, margin: float, settings: SamplingSettings) -> bool:
        """Give a row its next token; return whether it goes on."""
        row.margin = min(row.margin, margin)
        if token in self._ends:
            return False
        row.tokens.append(token)
        return not self._stops.ended(row.tokens, settings.stop)

    def _share(self, ids: tuple[int, ...]) -> list[tuple[Any, Any]] | None:
        """Return the keys and values of a shared text, layer by layer; those of the last one are kept."""
        import torch

        if not ids:
            return None
        if ids not in self._texts:
            self._texts.clear()
            device = self.model.get_input_embeddings().weight.device
            cache = self._runner.start(len(ids))
            self._runner.run(torch.tensor([ids], device=device), torch.arange(len(ids), device=device).unsqueeze(0), cache)
            self.forwards.shared += len(ids)
            self._texts[ids] = cache.shared()
        return self._texts[ids]

    def _draws(self, works: list[Work], steps: int, device: Any) -> Any:
        """Return the uniforms of all rows, shape (rows, steps), float64."""
        import numpy as np
        import torch

        rows = [uniforms(self._seed, self._dataset, work.prompt.item, sample, steps) for work in works for sample in work.samples]
        return torch.from_numpy(np.stack(rows)).to(device)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text)["input_ids"])


def _watch_layers(model: Any, dola: DecoderSettings) -> EarlyLayers:
    """Have a model keep what DoLa contrasts its last layer with."""
    from confscoring.contrast import candidate_layers

    parts = find_parts(model, "DoLa")
    return EarlyLayers(parts, candidate_layers(dola.layers, len(parts.layers), parts.tied))


def _end_tokens(tokenizer: Any, model: Any) -> frozenset[int]:
    """Return the tokens that end a text; some models have several."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return frozenset(token for token in (tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])) if token is not None)
