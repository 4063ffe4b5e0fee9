"""Compares the local verifier with one full forward pass per fact and with the public code's way, side by side in one run.

    OMP_NUM_THREADS=1 PYTHONPATH=volume/src:fsenv/src .envs/fsenv-paper/bin/python tests/bench/bench_local_verifier.py [--quick]

The model is a random Llama (hidden size 256, 4 layers); the facts are those of responses about a few topics, each with 5
of its page's 8 passages of 20 words. The public code (FActScore's llama mode) generates 128 tokens for every fact, one fact at a
time, and reads the beginning of the text. Compare the ratios only: seconds are this machine's.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from tiny_models import make_llama  # noqa: E402

from factscoring.compat import size_mask  # noqa: E402
from factscoring.facts import Fact  # noqa: E402
from factscoring.judgements import Question  # noqa: E402
from factscoring.local import LocalVerifier  # noqa: E402
from factscoring.retrieval import PageRetriever  # noqa: E402
from volume.errors import ItemError  # noqa: E402

GENERATED = 128  # tokens per fact in the public code
WORDS = "river town house prize school teacher winter harbour map song garden letter bridge doctor field stone market boat island road".split()


def make_questions(topics: int, facts: int, k: int = 5) -> list[Question]:
    """Return questions as the stage asks them: facts of a topic with the k passages that BM25 finds for each."""
    draw = random.Random(0)
    questions = []
    for number in range(topics):
        topic = f"Person {number}"
        passages = [" ".join(draw.choices(WORDS, k=20)) + "." for _ in range(8)]
        atoms = [f"{topic} had a {draw.choice(WORDS)} and a {draw.choice(WORDS)}." for _ in range(facts)]
        found = PageRetriever(topic, passages, k).find_all(atoms)
        questions += [Question(topic, Fact(atom, "claim", atom), tuple(own)) for atom, own in zip(atoms, found, strict=True)]
    return questions


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what ``work`` returns and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def run(topics: int, facts: int, hidden: int, layers: int, generate: int) -> None:
    """Measure and print; ``generate`` is the number of facts that text is generated for."""
    import torch

    questions = make_questions(topics, facts)
    with tempfile.TemporaryDirectory() as name:
        folder = make_llama(Path(name), hidden=hidden, layers=layers, positions=4096, kv_heads=4)  # as Llama 7B: all heads have their own keys
        verifiers = {order: LocalVerifier(folder, "float32", order) for order in ("rank", "page")}
    ids: dict[str, list[list[int]]] = {}
    for order, verifier in verifiers.items():
        segments = [verifier.segments(question) for question in questions]
        ids[order] = [[token for segment in one for token in segment] for one in segments if not isinstance(one, ItemError)]
    model = verifiers["rank"].model  # an equal one for every way
    answers = list(verifiers["rank"].answers)

    def full(prompts: list[list[int]]) -> list[list[float]]:
        with torch.inference_mode():
            return [model(input_ids=torch.tensor([prompt])).logits[0, -1, answers].tolist() for prompt in prompts]

    def generated(prompts: list[list[int]]) -> None:
        for prompt in prompts:
            model.generate(torch.tensor([prompt]), max_new_tokens=GENERATED, min_new_tokens=GENERATED, do_sample=False, pad_token_id=0)

    size_mask(model, max(map(len, ids["rank"])) + GENERATED)  # for all ways alike, or 4.38's mask of all positions would be most of their time
    full(ids["rank"][:2])  # warm
    print(f"{topics} topics, {facts} facts each, {sum(map(len, ids['rank'])) / len(questions):.0f} tokens a prompt; hidden {hidden}, {layers} layers")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread, {model.device}")
    _, seconds = timed(lambda: generated(ids["rank"][:generate]))
    per_fact = {"generate": seconds / generate}
    tokens = {"generate": sum(map(len, ids["rank"])) / len(questions) + GENERATED - 1}
    for order, verifier in verifiers.items():
        expected, seconds = timed(lambda order=order: full(ids[order]))  # type: ignore[misc]
        found, own = timed(lambda verifier=verifier: verifier.logits(questions))  # type: ignore[misc]
        per_fact[f"full, {order}"], per_fact[f"verifier, {order}"] = seconds / len(questions), own / len(questions)
        tokens[f"full, {order}"] = sum(map(len, ids[order])) / len(questions)
        tokens[f"verifier, {order}"] = verifier.forwards.tokens / len(questions)
        same = sum((true > false) == (one[0] > one[1]) for (true, false), one in zip(expected, found, strict=True))
        print(f"{order}: {same} of {len(questions)} decisions as in full passes; {verifier.forwards.rows} rows, {verifier.forwards.prefixes} shared beginnings")
    print(f"{'':16}{'ms a fact':>12}{'tokens a fact':>15}{'time, of full':>15}{'time, of generate':>19}")
    for way, value in per_fact.items():
        base = per_fact["full, page" if way.endswith("page") else "full, rank"]
        print(f"{way:16}{value * 1000:12.1f}{tokens[way]:15.1f}{value / base:15.3f}{value / per_fact['generate']:19.3f}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller model and fewer facts: some seconds")
    parser.add_argument("--topics", type=int, default=2)
    parser.add_argument("--facts", type=int, default=40, help="facts per topic")
    given = parser.parse_args()
    if given.quick:
        run(topics=2, facts=20, hidden=64, layers=2, generate=4)
    else:
        run(given.topics, given.facts, hidden=256, layers=4, generate=4)


if __name__ == "__main__":
    main()
