"""A volume as the earlier stages would leave it, with plausible numbers, for tests of evaluation and report.

The world is the real generator's; the responses come from a table of how each policy treats facts that it knows or not.

    PYTHONPATH=volume/src:csenv/src python tests/csenv/fake_volume.py FOLDER [people in the test split]
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from confscoring.confidence import expected_confidence, negative_entropy
from confscoring.synthetic.grammar import ATTRIBUTES, PROMPT, build_grammar, state
from confscoring.synthetic.people import create_people
from confscoring.world import describe
from volume.files import write_json, write_text
from volume.paths import DatasetPaths
from volume.settings import WorldSettings

# (a known fact: stated, vague), (an unknown one: stated, vague), closed-book accuracy on known facts
POLICIES = {
    "base": ((0.62, 0.20), (0.62, 0.20), 0.98),
    "sft": ((0.62, 0.21), (0.62, 0.21), 0.97),
    "factscore": ((0.52, 0.33), (0.22, 0.62), 0.94),
    "max_conf": ((0.38, 0.45), (0.24, 0.55), 0.93),
    "exp_conf": ((0.39, 0.45), (0.23, 0.55), 0.93),
    "samp_conf": ((0.50, 0.36), (0.23, 0.60), 0.95),
    "random": ((0.60, 0.22), (0.64, 0.20), 0.96),
}
REWARDS = {
    "factscore_avg": 0.85,
    "factscore_lp_avg": 0.6,
    "aq_neg_ent_avg": 0.2,
    "aq_max_conf_avg": 0.25,
    "aq_exp_conf_avg": 0.3,
    "aq_samp_conf_avg": 0.8,
    "random": 0.0,
}


def make_volume(data_dir: Path, people: int = 40, policies: tuple[str, ...] = tuple(POLICIES), n: int = 4, seed: int = 0) -> DatasetPaths:
    """Write what evaluation and report read of the dataset ``synth``; return its paths."""
    rng = random.Random(seed)
    paths = DatasetPaths(data_dir / "dataset_synth")
    everyone, values = create_people(seed, WorldSettings(people=round(people / 0.3)))
    for rank, person in enumerate(everyone):
        for attribute in ATTRIBUTES:
            person.exposure[attribute] = round((10 if attribute in person.obscure else 60) * (1 + rank / 20) ** -0.9 * rng.uniform(2, 12))
    in_knowledge = {person.name: [attribute for attribute in ATTRIBUTES if rng.random() < 0.77] for person in everyone}
    write_json(paths.world / "world.json", describe(seed, everyone, in_knowledge))
    write_json(paths.world / "grammar.json", build_grammar(values))
    groups = {split: [person for person in everyone if person.group == split] for split in ("train", "dpoval", "test")}
    for split, members in groups.items():
        questions = [{"topic": p.name, "topic_id": i, "questions": [PROMPT.format(name=p.name)], "pronoun": p.pronoun} for i, p in enumerate(members)]
        write_json(paths.questions(split), questions)

    known = {(p.name, a): rng.random() < 1 / (1 + math.exp(-1.5 * (math.log(max(p.exposure[a], 1)) - 3.2))) for p in everyone for a in ATTRIBUTES}
    for policy in policies:
        for person in groups["test"]:
            texts = [_respond(rng, person, known, values, *POLICIES[policy][:2]) for _ in range(n)] + [
                _respond(rng, person, known, values, *POLICIES[policy][:2], noise=0.05)
            ]
            _write(paths, person, texts, in_knowledge[person.name], rng, policy, n)
        cells = {
            p.name: {a: {"question": "", "answer": "", "correct": known[p.name, a] and rng.random() < POLICIES[policy][2]} for a in ATTRIBUTES}
            for p in groups["test"]
        }
        write_json(paths.eval(policy) / "closed_book.json", cells)
        _write_curves(paths, policy, rng)
    asked = random.Random(seed + 1)  # of its own: the responses stay what they are
    for split in ("train", "dpoval"):
        rewards, lines = {}, []
        for person in groups[split]:
            texts = [_respond(rng, person, known, values, *POLICIES["base"][:2]) for _ in range(6)]
            scored = _write(paths, person, texts, in_knowledge[person.name], rng, None, 6)
            rewards[person.name] = {PROMPT.format(name=person.name): {"responses": [text for text, _ in texts], **_reward(rng, scored)}}
            lines += _confidences(asked, person, scored, known, values)
        write_json(paths.rewards(split, len(rewards)), rewards)
        path = paths.root / "rewards" / f"confidences_{split}_{len(rewards)}.jsonl"
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return paths


def _respond(rng: random.Random, person: Any, known: Any, values: Any, on_known: Any, on_unknown: Any, noise: float = 0.14) -> tuple[str, list[dict[str, Any]]]:
    """Return a response and its decisions, not yet verified."""
    sentences, decisions = [], []
    for attribute in ATTRIBUTES:
        stated, vague = on_known if known[person.name, attribute] else on_unknown
        draw = rng.random()
        if draw < stated:
            right = rng.random() < (1 - noise if known[person.name, attribute] else 0.1)
            value = person.facts[attribute] if right else rng.choice(values[attribute])
            sentences.append(state(attribute, person.pronoun, value))
            decisions.append(
                {"atom": f"{person.name}: {attribute} {value}.", "kind": "claim", "sentence": sentences[-1], "attribute": attribute, "value": value}
            )
        elif draw < stated + vague:
            sentences.append(state(attribute, person.pronoun, "unrecorded"))
        if rng.random() < 0.012:
            sentences.append("Her prize where is.")
            decisions.append({"atom": sentences[-1], "kind": "unparsed", "sentence": sentences[-1], "attribute": None, "value": None})
    return " ".join(sentences), decisions


def _write(paths: DatasetPaths, person: Any, texts: Any, in_knowledge: list[str], rng: random.Random, run: str | None, sampled: int) -> list[dict[str, Any]]:
    scored = []
    for text, decisions in texts:
        for decision in decisions:
            true = decision["kind"] == "claim" and decision["value"] == person.facts[decision["attribute"]]
            decision["is_supported"] = (true and decision["attribute"] in in_knowledge and rng.random() < 0.99) or (not true and rng.random() < 0.004)
            decision["evidence"] = None
        supported = sum(decision["is_supported"] for decision in decisions)
        share = supported / len(decisions) if decisions else None
        kinds = [decision["kind"] for decision in decisions]
        scored.append({
            "topic": person.name, "generation": text, "score": share, "respond_ratio": float(bool(decisions)), "decisions": [decisions],
            "num_facts_per_response": float(len(decisions)), "init_score": share, "sentences": text.count("."), "vague": text.count("unrecorded"),
            "unparsed": kinds.count("unparsed"), "off_topic": 0, "repeats": 0,
        })  # fmt: skip
    responses = [text for text, _ in texts]
    decoding = ["sample"] * sampled + ["greedy"] * (len(texts) - sampled)
    record = {
        PROMPT.format(name=person.name): {"responses": responses, "decoding": decoding, "tokens": [len(text.split()) + text.count(".") for text in responses]}
    }
    write_json(paths.responses(person.name, run), record)
    write_json(paths.factscore(person.name, run), scored)
    return scored


def _reward(rng: random.Random, scored: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    truths = [response["init_score"] for response in scored]
    return {key: [None if truth is None else round(weight * truth + (1 - weight) * rng.random(), 4) for truth in truths] for key, weight in REWARDS.items()}


def _confidences(rng: random.Random, person: Any, scored: list[dict[str, Any]], known: Any, values: Any, n: int = 20) -> list[dict[str, Any]]:
    """Return a line for every fact of a person's responses: 20 answers a question, mostly right where the fact is known, else any of a few."""
    lines, answers = [], {}
    for attribute in ATTRIBUTES:
        sure = rng.uniform(0.7, 1.0) if known[person.name, attribute] else 0.1
        others = rng.sample(values[attribute], min(5, len(values[attribute])))
        answers[attribute] = Counter(person.facts[attribute] if rng.random() < sure else rng.choice(others) for _ in range(n))
    for response, row in enumerate(scored):
        for place, fact in enumerate(row["decisions"][0]):
            about = {key: fact[key] for key in ("atom", "kind", "attribute", "value", "is_supported")}
            line = {"topic": person.name, "question": PROMPT.format(name=person.name), "response": response, "fact": place, **about}
            line |= dict.fromkeys(("atomic_question", "claim_answer", "neg_ent", "max_conf", "exp_conf", "samp_conf"))
            if fact["kind"] == "claim":
                found = answers[fact["attribute"]]
                shares = [count / n for count in found.values()]
                line |= {
                    "atomic_question": f"What is {person.name}'s {fact['attribute']}?", "claim_answer": fact["value"], "neg_ent": negative_entropy(shares),
                    "max_conf": max(shares), "exp_conf": expected_confidence(shares), "samp_conf": found[fact["value"]] / n,
                }  # fmt: skip
            lines.append(line)
    return lines


def _write_curves(paths: DatasetPaths, policy: str, rng: random.Random) -> None:
    if policy == "base":
        return
    kind = "sft" if policy == "sft" else "dpo"
    pull = {"sft": 0.0, "random": 0.05}.get(policy, 1.0)
    lines = []
    for step in range(0, 201, 10):
        part = step / 200
        chosen, rejected = pull * (0.25 * part - 0.9 * part**2) + rng.gauss(0, 0.03), -pull * 2.4 * part - 0.05 * part + rng.gauss(0, 0.04)
        figures = {"loss": 0.693 - 0.3 * pull * part if kind == "dpo" else 2.1 - 0.6 * part, "lr": 1e-4, "grad_norm": 1.0}
        if kind == "dpo":
            figures |= {
                "chosen_reward": chosen,
                "rejected_reward": rejected,
                "margin": chosen - rejected,
                "accuracy": 0.5 + 0.22 * pull * part,
                "chosen_logp": -20.0,
                "rejected_logp": -21.0,
            }
            if step % 100 == 0:
                lines.append({"step": step, "examples": step * 32, "split": "dpoval", **figures})
        if step:
            lines.append({"step": step, "examples": step * 32, **figures})
    write_text(paths.run(policy) / kind / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    make_volume(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 40)
