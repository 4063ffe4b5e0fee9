"""Sampling from a model behind an OpenAI-compatible completions endpoint, such as that of vLLM, SGLang or llama.cpp's server.

Every sample is recorded under a key that holds its index, and what is recorded is never asked for again. It has a seed of its
own, made from what identifies the draw: a server that honours it gives the same text once more, and other texts for other
samples, whether they come one by one or as the choices of one call.

What a call does not carry is the server's default: llama.cpp's server drops tokens below 0.05 of the likeliest one's probability
(start it with ``--min-p 0``), vLLM takes what the model's generation_config.json says (``--generation-config vllm`` prevents it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from confscoring.sampling import Prompt, Sample
from volume.errors import ItemError, UsageError
from volume.llm import CallFailed, Client, Reply, Request, Usage, estimate_tokens
from volume.settings import SamplingSettings

PROMPT_VERSION = "sample-1"
_SEEDS = 2**31 - 2**20  # seeds of first samples lie below, those of all samples below 2**31: servers take signed 32-bit numbers
_ENOUGH = 32  # prompts that are not by chance all answered in one way only


class ServiceSampler:
    """Samples from a served model.

    Args:
        client: The service, with its recorded calls.
        model: The server's name of the model.
        seed, dataset: Identity of the draws.
    """

    def __init__(self, client: Client, model: str, seed: int, dataset: str) -> None:
        self._client, self._model, self._seed, self._dataset = client, model, seed, dataset
        self._alike: int | None = 0  # prompts whose samples are all the same text; None once there was another

    @property
    def usage(self) -> Usage:
        """What was asked so far."""
        return self._client.usage

    def count_tokens(self, text: str) -> int:
        """Return an estimate of the tokens of a text, rather too high: the server's tokenizer is not here."""
        return estimate_tokens(text)

    def sample(self, prompts: Sequence[Prompt], settings: SamplingSettings, shared: str | None = None) -> list[list[Sample] | ItemError]:
        """Return ``settings.n`` samples of every prompt, in the prompts' order; an ItemError for one of which a call failed for good.

        What prompts have in common is the server's to find (its prefix cache), so ``shared`` plays no part.

        Raises:
            UsageError: The service refuses the parameters, or its samples are copies of each other.
            VolumeError: The service cannot be used at all.
        """
        asked = [request_for(prompt, settings, self._model, self._seed, self._dataset) for prompt in prompts]
        found = [_collect(replies, settings) for replies in self._client.draw(asked, settings.n, settings.samples_per_call)]
        if settings.n > 1 and settings.temperature > 0 and settings.top_k != 1:
            self._watch(found, settings)
        return found

    def _watch(self, found: Sequence[list[Sample] | ItemError], settings: SamplingSettings) -> None:
        """Refuse a service that gives nothing but copies: nobody is so sure, and every confidence would be 1.

        SGLang that is told to be deterministic gives the choices of one call the same seed, and so the same text.
        """
        texts = [{sample.text for sample in samples} for samples in found if not isinstance(samples, ItemError)]
        if self._alike is None or any(len(distinct) > 1 for distinct in texts):
            self._alike = None
            return
        self._alike += len(texts)
        if self._alike >= _ENOUGH:
            raise UsageError(
                f"the service gave {settings.n} samples of each of {self._alike} prompts, and those of a prompt are always the same text, at temperature "
                f"{settings.temperature:g}: it does not sample, or it gives the choices of one call one seed. Set samples_per_call = 1 or mend the "
                "service; then run once with LLM_MODE=refresh, since these are recorded."
            )


def request_for(prompt: Prompt, settings: SamplingSettings, model: str, seed: int, dataset: str) -> Request:
    """Return the call that asks for a prompt's first sample; ``Request.draws`` gives the others."""
    parameters: dict[str, Any] = {
        "max_tokens": min(prompt.max_new_tokens or settings.max_new_tokens, settings.max_new_tokens),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": seed_of(seed, dataset, prompt.item),
    }
    # Only what was set: OpenAI's own service, for one, refuses top_k.
    parameters |= {"top_k": settings.top_k} if settings.top_k else {}
    parameters |= {"stop": list(settings.stop)} if settings.stop else {}
    return Request("completions", model, (("user", settings.prefix + prompt.text),), PROMPT_VERSION, 0, parameters)


def seed_of(seed: int, dataset: str, item: str) -> int:
    """Return the seed that is sent for the first sample of an item; the next ones have the next numbers."""
    identity = "\x1f".join((str(seed), dataset, item)).encode()
    return int.from_bytes(hashlib.sha256(identity).digest()[:8], "big") % _SEEDS


def _collect(replies: Sequence[Reply | CallFailed], settings: SamplingSettings) -> list[Sample] | ItemError:
    samples: list[Sample] = []
    for reply in replies:
        if isinstance(reply, CallFailed):
            if settings.top_k and "top_k" in str(reply):
                raise UsageError(f"sampling: {reply}. This service does not take top_k: set top_k = 0, so that all tokens can be drawn.")
            hint = " If it gives one choice a call, set samples_per_call = 1." if settings.samples_per_call > 1 else ""
            return ItemError(f"sampling: {reply}.{hint}" if hint else f"sampling: {reply}")
        text = reply.text
        for stop in settings.stop:  # some servers leave the stop string in
            text = text.split(stop, 1)[0]
        samples.append(Sample(text.strip(), reply.completion_tokens, None, reply.text if settings.stop else None))
    return samples
