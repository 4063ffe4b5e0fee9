"""Opens the sampler that a definition describes: a model in a folder, or one behind a server."""

from __future__ import annotations

from pathlib import Path

from confscoring.chat import ChatSampler, open_chat
from confscoring.sampling import TextSampler
from confscoring.service import open_sampling_client
from confscoring.service_sampler import ServiceSampler
from volume.context import Context
from volume.evidence import model_folder
from volume.policy_steps import policy_folder, run_model
from volume.settings import ModelSettings, SamplingSettings


def open_sampler(ctx: Context, settings: SamplingSettings, run: str | None = None) -> TextSampler:
    """Return the sampler for a section of the definition; prompts for a chat model take the form of its chat template.

    Args:
        settings: The section, [responses] or [answers].
        run: Sample from this run's policy instead, by its decoder, or from the candidate of it that the command line names; always a folder.

    Raises:
        UsageError: The model cannot be loaded, its chat template cannot be used, its decoder does not fit it, or the service cannot be asked.
    """
    definition = ctx.definition
    name = run_model(definition, run) if run else settings.model
    model = definition.models[name]
    folder = policy_folder(definition, ctx.paths, ctx.data_dir, run, ctx.candidate) if run else model_folder(definition, ctx.paths, ctx.data_dir, name)
    form = open_chat(folder, name) if model.chat else None  # before a large model is loaded in vain
    sampler: TextSampler
    if settings.backend == "openai" and run is None:
        sampler = ServiceSampler(open_sampling_client(ctx), served_name(ctx, settings), definition.seed, definition.name)
    else:
        sampler = _open_folder(ctx, folder, model, definition.runs[run].decoder if run else "", run)
    return ChatSampler(sampler, form) if form else sampler


def _open_folder(ctx: Context, folder: Path, model: ModelSettings, decoder: str, run: str | None) -> TextSampler:
    """Return the sampler for a model in a folder, by a decoder of the definition: "" is none."""
    from confscoring.sampler import Sampler  # only where it is used: it needs torch

    definition = ctx.definition
    how = definition.decoders[decoder] if decoder else None
    sampler = Sampler(folder, model.dtype, definition.seed, definition.name, model.device_map, how if how and how.kind == "dola" else None)
    if run and how and how.kind == "iti":
        from confscoring.shifts import apply_shifts, read_shifts

        apply_shifts(sampler.model, read_shifts(ctx.paths.probes(run), run))
    return sampler


def served_name(ctx: Context, settings: SamplingSettings) -> str:
    """Return the name under which the server knows the model."""
    return settings.served or ctx.definition.models[settings.model].source or settings.model


def note_calls(ctx: Context, sampler: TextSampler) -> None:
    """Put the use of the service so far into the manifest; a resumed run's replies count as recorded."""
    if isinstance(sampler, ChatSampler):
        sampler = sampler.sampler
    if isinstance(sampler, ServiceSampler):
        ctx.note("calls", sampler.usage.as_note())
