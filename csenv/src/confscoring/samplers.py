"""Opens the sampler that a definition describes: a model in a folder, or one behind a server."""

from __future__ import annotations

import os

from confscoring.sampling import TextSampler
from confscoring.service_sampler import ServiceSampler
from volume.context import Context
from volume.evidence import model_folder
from volume.llm import Client
from volume.requirements import COMPLETIONS_KEY, read_key
from volume.settings import SamplingSettings
from volume.steps import policy_folder


def open_sampler(ctx: Context, settings: SamplingSettings, run: str | None = None) -> TextSampler:
    """Return the sampler for a section of the definition.

    Args:
        settings: The section, [responses] or [answers].
        run: Sample from this run's policy instead, which is always a folder.

    Raises:
        UsageError: The model cannot be loaded, or the service cannot be asked.
    """
    definition = ctx.definition
    model = definition.models[settings.model]
    if settings.backend == "openai" and run is None:
        return ServiceSampler(_open_client(ctx), served_name(ctx, settings), definition.seed, definition.name)
    from confscoring.sampler import Sampler  # only where it is used: it needs torch

    folder = policy_folder(definition, ctx.paths, ctx.data_dir, run) if run else model_folder(definition, ctx.paths, ctx.data_dir, settings.model)
    return Sampler(folder, model.dtype, definition.seed, definition.name, model.device_map)


def served_name(ctx: Context, settings: SamplingSettings) -> str:
    """Return the name under which the server knows the model."""
    return settings.served or ctx.definition.models[settings.model].source or settings.model


def note_calls(ctx: Context, sampler: TextSampler) -> None:
    """Put the use of the service so far into the manifest; a resumed run's replies count as recorded."""
    if isinstance(sampler, ServiceSampler):
        usage = sampler.usage
        ctx.note("calls", {
            "asked": usage.calls, "recorded": usage.recorded, "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens, "usd": round(usage.spent, 6),
        })  # fmt: skip


def _open_client(ctx: Context) -> Client:
    definition = ctx.definition
    store, own = ctx.data_dir / "llm_calls.sqlite", definition.completions
    if own is None:
        return Client(store, definition.llm, ctx.llm_mode, dataset=definition.name, max_cost=ctx.max_cost, key=read_key(), log=ctx.log)
    # The key of [llm] is no other server's business. One's own has no prices, and a cap on money would refuse it.
    max_cost = ctx.max_cost if own.input_price or own.output_price else None
    return Client(store, own, ctx.llm_mode, dataset=definition.name, max_cost=max_cost, key=os.environ.get(COMPLETIONS_KEY), log=ctx.log)
