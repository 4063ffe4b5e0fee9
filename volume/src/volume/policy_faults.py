"""What is wrong with the policies of a definition and their decoders: what stands in no relation, or in none that can be run."""

from __future__ import annotations

import re

from volume.errors import suggest
from volume.settings import Definition

_KINDS = ("base", "sft", "dpo", "decode")


def run_faults(definition: Definition) -> list[str]:
    """Return what does not go together in a policy's own section."""
    faults: list[str] = []
    above: list[str] = []
    for name, run in definition.runs.items():
        if run.kind not in _KINDS:
            faults.append(f"runs.{name}.kind = {run.kind!r}: expected base, sft, dpo or decode")
        if run.kind == "dpo" and not run.reward:
            faults.append(f"runs.{name}.reward: missing (a key of the rewards file)")
        if run.kind != "dpo" and run.reward:
            faults.append(f"runs.{name}.reward = {run.reward!r}: only a run of kind 'dpo' is trained on a reward")
        if run.start and run.start not in above:
            faults.append(f"runs.{name}.start = {run.start!r}: no run of that name stands above it.{suggest(run.start, above)}")
        if run.start and run.kind in ("base", "sft"):
            faults.append(f"runs.{name}.start = {run.start!r}: a run of kind {run.kind!r} starts from a model; name that under model")
        if run.start in above and run.model:
            faults.append(f"runs.{name}: start and model are both given; its model is that of its start, so take model out")
        if run.kind == "decode" and not run.decoder:
            faults.append(f"runs.{name}.decoder: missing (a name under [decoders])")
        if run.kind == "decode" and not run.start and not any(definition.runs[other].kind == "sft" for other in above):
            faults.append(f"runs.{name}.start: missing (the run whose policy is decoded; it stands above)")
        if run.decoder and run.kind != "decode":
            faults.append(f"runs.{name}.decoder = {run.decoder!r}: give it to a run of kind 'decode', with start = the run whose policy it decodes")
        if run.decoder and run.decoder not in definition.decoders:
            faults.append(f"runs.{name}.decoder = {run.decoder!r}: not under [decoders].{suggest(run.decoder, definition.decoders)}")
        if run.kind == "decode" and run.start in above and definition.runs[run.start].kind == "decode":
            faults.append(f"runs.{name}.start = {run.start!r}: is decoded by a decoder itself; one run has one")
        above.append(name)
    for name in definition.eval.calibrated:
        if name not in definition.runs:
            faults.append(f"eval.calibrated names {name!r}: not under [runs].{suggest(name, definition.runs)}")
    return faults


def decoder_faults(definition: Definition) -> list[str]:
    """Return what is wrong with the decoders."""
    faults: list[str] = []
    for name, decoder in definition.decoders.items():
        if decoder.kind not in ("dola", "iti"):
            faults.append(f"decoders.{name}.kind = {decoder.kind!r}: expected dola or iti")
        if decoder.layers not in ("low", "high") and not re.fullmatch(r"\d+(\s*,\s*\d+)*", decoder.layers):
            faults.append(f"decoders.{name}.layers = {decoder.layers!r}: expected low, high, or numbers of layers like '0,2,4'")
        if not 0 < decoder.alpha <= 1:
            faults.append(f"decoders.{name}.alpha = {decoder.alpha:g}: expected a share above 0, up to 1")
        if decoder.repetition_penalty < 1:
            faults.append(f"decoders.{name}.repetition_penalty = {decoder.repetition_penalty:g}: expected 1 (none) or more")
        if decoder.heads < 1:
            faults.append(f"decoders.{name}.heads = {decoder.heads}: expected 1 or more")
    return faults
