"""Sampling from a model behind an OpenAI-compatible completions endpoint, such as that of vLLM, SGLang or llama.cpp's server.

Every text is recorded like any call to a service, under a key that holds the sample's index; what is recorded is never asked
for again. A call carries a seed of its own, made from what identifies the draw: a server that honours it gives the same text
once more, and other texts for other samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from confscoring.sampling import Prompt, Sample
from volume.errors import ItemError
from volume.llm import CallFailed, Client, Reply, Request, Usage, estimate_tokens
from volume.settings import SamplingSettings

PROMPT_VERSION = "sample-1"


class ServiceSampler:
    """Samples from a served model.

    Args:
        client: The service, with its recorded calls.
        model: The server's name of the model.
        seed, dataset: Identity of the draws.
    """

    def __init__(self, client: Client, model: str, seed: int, dataset: str) -> None:
        self._client, self._model, self._seed, self._dataset = client, model, seed, dataset

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
            VolumeError: The service cannot be used at all.
        """
        asked = [requests_for(prompt, settings, self._model, self._seed, self._dataset) for prompt in prompts]
        replies = iter(self._client.complete([request for own in asked for request in own]))
        return [_collect([next(replies) for _ in own], own, settings) for own in asked]


def requests_for(prompt: Prompt, settings: SamplingSettings, model: str, seed: int, dataset: str) -> list[Request]:
    """Return the calls that ask for a prompt's samples, ``settings.samples_per_call`` by each."""
    found = []
    for first in range(0, settings.n, settings.samples_per_call):
        together = min(settings.samples_per_call, settings.n - first)
        parameters = {
            "max_tokens": min(prompt.max_new_tokens or settings.max_new_tokens, settings.max_new_tokens),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": seed_of(seed, dataset, prompt.item, first),
        }
        # Only what was set: OpenAI's own service, for one, refuses top_k.
        parameters |= {"top_k": settings.top_k} if settings.top_k else {}
        parameters |= {"stop": list(settings.stop)} if settings.stop else {}
        parameters |= {"n": together} if together > 1 else {}
        found.append(Request("completions", model, (("user", settings.prefix + prompt.text),), PROMPT_VERSION, first, parameters))
    return found


def seed_of(seed: int, dataset: str, item: str, sample: int) -> int:
    """Return the seed that is sent for a sample, 31 bits: servers take it as a signed 32-bit number."""
    identity = "\x1f".join((str(seed), dataset, item, str(sample))).encode()
    return int.from_bytes(hashlib.sha256(identity).digest()[:4], "big") >> 1


def _collect(replies: Sequence[Reply | CallFailed], requests: Sequence[Request], settings: SamplingSettings) -> list[Sample] | ItemError:
    samples: list[Sample] = []
    for reply, request in zip(replies, requests, strict=True):
        if isinstance(reply, CallFailed):
            hint = " If it does not take top_k, set top_k = 0." if settings.top_k and "top_k" in str(reply) else ""
            return ItemError(f"sampling: {reply}{hint}")
        together = int(request.parameters.get("n", 1))
        texts = json.loads(reply.text) if together > 1 else [reply.text]
        for text in texts:
            for stop in settings.stop:  # some servers leave the stop string in
                text = text.split(stop, 1)[0]
            tokens = reply.completion_tokens if together == 1 else estimate_tokens(text)
            samples.append(Sample(text.strip(), tokens, None))
    return samples
