"""Finds the attention heads that tell true facts from false ones, and the directions in which a run's decoder shifts them (ITI).

    python -m confscoring.probes --dataset synth --data-dir data --run iti --split train

The policy reads "prompt fact" for atomic facts of the training responses, scored by the verifier: equally many true and false
ones, at most 4000, each (topic, fact) once. The outputs of every head at the last token are what its probe sees; probes are fitted
to four fifths of the topics and compared on the others. Facts of equally many tokens go through the model together, with no padding.

Reads: the policy that the run decodes; responses/{topic}_generations.json and factscore_outputs/{topic}_fs_out.json of the split.
Writes: runs/{run}/probes/shifts.safetensors (per layer, what is added to its heads' outputs), probes.json (every probe's accuracy,
the heads chosen, the facts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from confscoring.chat import open_chat
from confscoring.compat import load_model
from confscoring.draws import uniforms
from confscoring.probe_fit import choose_heads, fit_logistic, mean_shift, probe_accuracy
from confscoring.reward_inputs import decisions_of
from confscoring.shifts import read_heads, write_shifts
from volume.context import Context
from volume.errors import RecordError, UsageError
from volume.policy_steps import policy_folder, run_model
from volume.records import Generations, ScoredResponses, load, save
from volume.stage import run_whole

_MOST = 2000  # facts of either kind
_LEAST = 20
_HELD_OUT = 0.2  # of the topics, on which probes are compared


@dataclass(frozen=True)
class Fact:
    """An atomic fact, after the prompt of the response that states it."""

    topic: str
    prompt: str
    atom: str
    true: bool


class ShiftedHead(TypedDict):
    """A head that is shifted; both numbers count from 0."""

    layer: int
    head: int
    accuracy: float
    sigma: float


class Probes(TypedDict):
    """probes.json; ``accuracy`` is that of each layer's heads on the topics held out, ``chance`` the share of their larger kind."""

    format: int
    dataset: str
    seed: int
    run: str
    decoder: str
    strength: float
    true: int
    false: int
    topics: int
    held_out_facts: int
    held_out_topics: int
    chance: float
    accuracy: list[list[float]]
    chosen: list[ShiftedHead]


def produce(ctx: Context) -> list[Path]:
    """Probe, choose and write; return the files written.

    Raises:
        UsageError: There are too few facts, or the model cannot be used.
    """
    run, definition = str(ctx.run), ctx.definition
    name = definition.runs[run].decoder
    decoder = definition.decoders[name]
    folder, model_name = policy_folder(definition, ctx.paths, ctx.data_dir, run), run_model(definition, run)
    chat = open_chat(folder, model_name) if definition.models[model_name].chat else None
    facts = balance(read_facts(ctx), definition.seed, definition.name)
    held_out = hold_out(facts, definition.seed, definition.name)
    tokenizer, model = load_model(folder, definition.models[model_name].dtype, definition.models[model_name].device_map)
    texts = [after(chat.render(fact.prompt) if chat else fact.prompt, fact.atom) for fact in facts]
    outputs = read_heads(model, [tuple(tokenizer(text)["input_ids"]) for text in texts])
    labels = torch.tensor([fact.true for fact in facts])
    accuracy = torch.stack([_compare(layer, labels, held_out) for layer in outputs])
    chosen = choose_heads(accuracy, decoder.heads)
    shifts: dict[int, Tensor] = {}
    heads: list[ShiftedHead] = []
    for layer, head in chosen:
        direction, sigma = mean_shift(outputs[layer][head], labels)
        size = len(direction)
        shift = shifts.setdefault(layer, torch.zeros(len(outputs[layer]) * size))
        shift[head * size : (head + 1) * size] = (decoder.strength * sigma * direction).float()
        heads.append({"layer": layer, "head": head, "accuracy": float(accuracy[layer, head]), "sigma": sigma})
    share = float(labels[held_out].double().mean())
    topics = len({fact.topic for fact in facts})
    held_out_topics = len({fact.topic for fact, held in zip(facts, held_out.tolist(), strict=True) if held})
    record: Probes = {
        "format": 1, "dataset": definition.name, "seed": definition.seed, "run": run, "decoder": name, "strength": decoder.strength,
        "true": int(labels.sum()), "false": int((~labels).sum()), "topics": topics, "held_out_facts": int(held_out.sum()),
        "held_out_topics": held_out_topics, "chance": max(share, 1 - share), "accuracy": accuracy.tolist(), "chosen": heads,
    }  # fmt: skip
    path = ctx.paths.probes(run) / "probes.json"
    written = write_shifts(ctx.paths.probes(run), shifts)
    save(path, record, Probes)
    for key in ("true", "false", "topics", "held_out_facts", "held_out_topics"):
        ctx.count(key, record[key])
    ctx.count("heads", len(heads))
    best = heads[0]
    ctx.log(
        f"{len(facts)} facts of {topics} topics; {len(heads)} of {accuracy.numel()} heads are shifted; the best, {best['head']} of layer {best['layer']}, "
        f"is right on {100 * best['accuracy']:.1f} % of {record['held_out_facts']} facts of other topics (chance: {100 * record['chance']:.1f} %)"
    )
    return [written, path]


def read_facts(ctx: Context) -> list[Fact]:
    """Return the scored facts of the split's topics, each (topic, fact) once; topics that were not scored are counted and left out.

    A vague statement is no fact, and one on which the verifier gave no verdict is neither true nor false.

    Raises:
        UsageError: The definition has no [responses].
        RecordError: A file cannot be read, or does not score the responses beside it.
    """
    if ctx.definition.responses is None:
        raise UsageError(f"dataset '{ctx.definition.name}' lacks [responses]; bio.toml shows the section.")
    form = ctx.definition.responses.prompt
    found: dict[tuple[str, str], Fact] = {}
    for topic in (topic["topic"] for topic in ctx.topics):
        generations, facts = ctx.paths.responses(topic), ctx.paths.factscore(topic)
        if not (generations.exists() and facts.exists()):
            ctx.count("missing")
            continue
        stated: Generations = load(generations, Generations)
        scored: ScoredResponses = load(facts, ScoredResponses)
        texts = [(question, text) for question, generation in stated.items() for text in generation["responses"]]
        if [text for _, text in texts] != [response["generation"] for response in scored]:
            raise RecordError(f"{facts} does not score the responses of {generations.name} in their order. Delete it and run `make rewards` again.")
        for (question, _), response in zip(texts, scored, strict=True):
            prompt = form.format(question=question, topic=topic)
            for decision in decisions_of(response):
                if decision.get("kind", "claim") == "claim" and not decision.get("undecided", False):
                    found.setdefault((topic, decision["atom"]), Fact(topic, prompt, decision["atom"], decision["is_supported"]))
    return list(found.values())


def balance(facts: Sequence[Fact], seed: int, dataset: str) -> list[Fact]:
    """Return equally many true and false facts, drawn without regard to their order; in the order given.

    Raises:
        UsageError: There are too few of a kind.
    """
    kinds = [[fact for fact in facts if fact.true is kind] for kind in (True, False)]
    if min(map(len, kinds)) < _LEAST:
        raise UsageError(
            f"{len(kinds[0])} true and {len(kinds[1])} false facts of the training topics: probes need {_LEAST} of each. "
            "More topics or responses are needed (splits, responses.n), or LIMIT is too small."
        )
    number = min(_MOST, *map(len, kinds))
    drawn = {fact for kind in kinds for fact in sorted(kind, key=lambda fact: _draw(seed, dataset, f"{fact.topic}/{fact.atom}"))[:number]}
    return [fact for fact in facts if fact in drawn]


def hold_out(facts: Sequence[Fact], seed: int, dataset: str) -> Tensor:
    """Return which facts are of the topics on which probes are compared, shape (facts,), bool: one topic in five, drawn.

    Raises:
        UsageError: Those topics or the others have facts of one kind alone.
    """
    topics = sorted({fact.topic for fact in facts}, key=lambda topic: _draw(seed, dataset, topic))
    chosen = set(topics[: max(1, round(_HELD_OUT * len(topics)))])
    kinds = {(fact.topic in chosen, fact.true) for fact in facts}
    if len(kinds) < 4:
        raise UsageError(
            f"the facts are of {len(topics)} topics, of which {len(chosen)} are held out: there or among the others all are true, or all false. "
            "Probes need more topics."
        )
    return torch.tensor([fact.topic in chosen for fact in facts])


def _draw(seed: int, dataset: str, item: str) -> float:
    return float(uniforms(seed, dataset, f"probes/{item}", 0, 1)[0])


def after(prompt: str, fact: str) -> str:
    """Return a fact after a prompt; a chat template's own end may be white space already."""
    return prompt + fact if prompt[-1:].isspace() else f"{prompt} {fact}"


def _compare(outputs: Tensor, labels: Tensor, held_out: Tensor) -> Tensor:
    """Fit the probes of a layer's heads and return their accuracy on the facts held out."""
    weights = fit_logistic(outputs[:, ~held_out], labels[~held_out])
    return probe_accuracy(outputs[:, held_out], labels[held_out], weights)


if __name__ == "__main__":
    raise SystemExit(run_whole("probes", produce))
