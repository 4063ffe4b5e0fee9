"""Verdicts of a local causal language model: is True or False the next token after passages, claim and question?

As in FActScore's llama mode (Min et al. 2023), in our own wording: a fact is supported when the logit of True is above
that of False at the prompt's last position. One forward row a fact, nothing is generated.

A prompt is a sequence of segments (instruction, one for each passage, claim and question) that are tokenised one by one;
its tokens are theirs, joined. Prompts that begin with the same segments share the keys and values of that beginning: it
is run once, however many facts of the topic have it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from factscoring.compat import branch_cache, count_positions, load_causal_lm, logits_at, size_mask
from factscoring.judgements import Judgement, Question
from volume.errors import ItemError, UsageError
from volume.files import sha256_value

# A change of the wording changes scores: say it in CHANGELOG.md.
INSTRUCTION = "Here are passages from an article about {topic}. Tell from them alone whether a claim about {topic} is true.\n\n"
PASSAGE = "Title: {topic}\nText: {passage}\n\n"
QUESTION = "Claim: {fact}\nGiven the passages, is this claim True or False?\n"
CUE = "Answer:"  # the next token is the verdict
ORDERS = ("rank", "page")
_TOKENS = 4096  # of the rows of one pass: facts that share little have long rows

Segments = tuple[tuple[int, ...], ...]


@dataclass
class Forwards:
    """What the model was run on.

    Attributes:
        rows: Facts, each one row.
        prefixes: Beginnings that several facts share, each one pass of one row.
        tokens: Tokens of both, without padding.
    """

    rows: int = 0
    prefixes: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Prompt:
    """The prompt of the question at ``index``, in segments of token ids."""

    index: int
    segments: Segments

    def ids(self, start: int = 0, end: int | None = None) -> list[int]:
        """Return the token ids of the segments from ``start`` to before ``end``."""
        return [token for segment in self.segments[start:end] for token in segment]


class LocalVerifier:
    """Judges facts with the model in a folder.

    Args:
        folder: A Hugging Face model folder.
        dtype: float32, bfloat16 or float16.
        passage_order: "rank": best last, as in the public code. "page": one fixed order (by text) whatever the fact, so
            that facts with the same passages have the same prompt up to the claim.
        batch_rows: Facts per forward pass at most. A row needs memory for the keys and values of its whole prompt.

    Raises:
        UsageError: There is no such order, no such model, or its tokenizer begins True and False with the same token.
    """

    def __init__(self, folder: Path, dtype: str, passage_order: str = "rank", batch_rows: int = 16) -> None:
        if passage_order not in ORDERS:
            raise UsageError(f"passage_order {passage_order!r}: expected {' or '.join(map(repr, ORDERS))}.")
        self.tokenizer, self.model = load_causal_lm(folder, dtype)
        self.forwards = Forwards()
        self._order, self._dtype, self._batch_rows = passage_order, dtype, batch_rows
        self._positions = count_positions(self.model)
        self._special = sorted(filter(None, self.tokenizer.all_special_tokens), key=len, reverse=True)
        bos = self.tokenizer.bos_token_id
        self._bos = (bos,) if bos is not None and self.tokenizer(CUE)["input_ids"][:1] == [bos] else ()
        self.answers = find_answers(self.tokenizer, folder)
        self._tokenise = lru_cache(maxsize=4096)(self._tokenise_once)  # passages come back for every fact of a topic

    def judge(self, questions: Sequence[Question]) -> list[Judgement | ItemError]:
        """Return a judgement for every question, in order; an ItemError where a claim is too long for the model, or its logits are no numbers."""
        judged: list[Judgement | ItemError] = []
        for question, found in zip(questions, self.logits(questions), strict=True):
            if not isinstance(found, ItemError) and not all(map(math.isfinite, found)):
                found = ItemError(
                    f"the verifier's logits for the claim {question.fact.atom[:80]!r} about {question.topic!r} are {found}, no finite numbers: "
                    f"the model overflows in {self._dtype}. Set its dtype to bfloat16 or float32."
                )
            judged.append(found if isinstance(found, ItemError) else decide(*found))
        return judged

    def identity(self) -> dict[str, Any]:
        """Return what its verdicts depend on, beside the model's files."""
        names = self.tokenizer.convert_ids_to_tokens(list(self.answers))
        return {
            "verifier": "local",
            "verifier_dtype": self._dtype,
            "verifier_prompt_sha256": sha256_value([INSTRUCTION, PASSAGE, QUESTION, CUE]),
            "verifier_passage_order": self._order,
            "verifier_answers": {word: [name, token] for word, name, token in zip(("True", "False"), names, self.answers, strict=True)},
        }

    def logits(self, questions: Sequence[Question]) -> list[tuple[float, float] | ItemError]:
        """Return the logits of True and of False after the prompt of every question, in order."""
        import torch

        results: list[tuple[float, float] | ItemError] = []
        prompts: list[Prompt] = []
        for index, question in enumerate(questions):
            segments = self.segments(question)
            results.append(segments if isinstance(segments, ItemError) else (math.nan, math.nan))
            if not isinstance(segments, ItemError):
                prompts.append(Prompt(index, segments))
        if prompts:
            size_mask(self.model, max(len(prompt.ids()) for prompt in prompts))
        with torch.inference_mode():
            self._run(prompts, 0, None, results)
        return results

    def segments(self, question: Question) -> Segments | ItemError:
        """Return a question's prompt; where it is too long for the model, without its lowest-ranked passages."""
        topic = self._clean(question.topic)
        first = self._bos + self._tokenise(INSTRUCTION.format(topic=topic))
        last = self._tokenise(QUESTION.format(fact=self._clean(question.fact.atom)) + CUE)
        ranked = [(passage, self._tokenise(PASSAGE.format(topic=topic, passage=self._clean(passage)))) for passage in question.passages]
        room = math.inf if self._positions is None else self._positions - len(first) - len(last)
        if room < 0:
            return ItemError(
                f"the prompt for the claim {question.fact.atom[:80]!r} about {question.topic!r} has {len(first) + len(last)} tokens without any passage, "
                f"and the verifier's model takes {self._positions}. A shorter claim or a model with more positions is needed."
            )
        while sum(len(ids) for _, ids in ranked) > room:
            ranked.pop()
        shown = sorted(ranked) if self._order == "page" else ranked[::-1]
        return (first, *(ids for _, ids in shown), last)

    def _run(self, prompts: Sequence[Prompt], depth: int, cache: Any, results: list[tuple[float, float] | ItemError]) -> None:
        """Judge prompts that agree in their first ``depth`` segments, whose keys and values are ``cache``.

        Depth first, so that only the caches of one path are held at a time.
        """
        alone: list[Prompt] = []
        for members in group_by_next(prompts, depth):
            if len(members) == 1:
                alone += members
                continue
            shared = count_shared(members)
            child = self._extend(cache, members[0].ids(depth, shared))
            self._run(members, shared, child, results)
            del child  # or it would be held while the next one is made
        alone.sort(key=lambda prompt: -len(prompt.ids(depth)))  # rows of like length need little padding
        while alone:
            size = max(1, min(self._batch_rows, _TOKENS // len(alone[0].ids(depth))))
            if self._fit_rows(alone[:size], depth, cache, results):
                del alone[:size]

    def _fit_rows(self, prompts: Sequence[Prompt], depth: int, cache: Any, results: list[tuple[float, float] | ItemError]) -> bool:
        """Judge a batch of rows; where the GPU's memory does not hold it, halve the batches from now on and return False.

        Raises:
            UsageError: Not even one row fits.
        """
        import torch

        try:
            self._judge_rows(prompts, depth, cache, results)
            return True
        except torch.cuda.OutOfMemoryError as error:
            if len(prompts) == 1:
                remedy = "Fewer passages (retrieval.k), a smaller dtype or another card is needed."
                raise UsageError(f"the GPU's memory does not hold the verifier and one prompt. {remedy}") from error
        self._batch_rows = len(prompts) // 2
        torch.cuda.empty_cache()
        return False

    def _extend(self, cache: Any, ids: list[int]) -> Any:
        import torch

        tokens = torch.tensor([ids], device=self.model.device)
        self.forwards.prefixes += 1
        self.forwards.tokens += len(ids)
        return self.model.base_model(input_ids=tokens, past_key_values=branch_cache(cache), use_cache=True).past_key_values

    def _judge_rows(self, prompts: Sequence[Prompt], depth: int, cache: Any, results: list[tuple[float, float] | ItemError]) -> None:
        import torch

        rows = [prompt.ids(depth) for prompt in prompts]
        width = max(map(len, rows))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self.model.device)
        ends = torch.tensor([len(row) - 1 for row in rows], device=self.model.device)
        logits = logits_at(self.model, tokens, branch_cache(cache, len(rows)), ends)
        found = logits[:, list(self.answers)].float().tolist()
        for prompt, (true, false) in zip(prompts, found, strict=True):
            results[prompt.index] = (true, false)
        self.forwards.rows += len(rows)
        self.forwards.tokens += sum(map(len, rows))

    def _tokenise_once(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _clean(self, text: str) -> str:
        """Return a text without the names of special tokens: the tokenizer would make an end of text of a "</s>" in it."""
        for name in self._special:
            text = text.replace(name, "")
        return text.strip()


def group_by_next(prompts: Sequence[Prompt], depth: int) -> list[list[Prompt]]:
    """Group prompts by their segment at ``depth``; one whose segment there is its last, the question, stays alone."""
    groups: dict[Any, list[Prompt]] = {}
    for prompt in prompts:
        key = prompt.segments[depth] if depth < len(prompt.segments) - 1 else prompt.index
        groups.setdefault(key, []).append(prompt)
    return list(groups.values())


def count_shared(prompts: Sequence[Prompt]) -> int:
    """Return how many segments all of the prompts begin with, their questions left out."""
    most = min(len(prompt.segments) for prompt in prompts) - 1
    first = prompts[0].segments
    return next((depth for depth in range(most) if any(prompt.segments[depth] != first[depth] for prompt in prompts)), most)


def decide(true: float, false: float) -> Judgement:
    """Return the judgement for the logits of True and False; p_true is their softmax, exp(t) / (exp(t) + exp(f))."""
    p_true = 1 / (1 + math.exp(min(false - true, 700.0)))
    return Judgement(supported=true > false, p_true=round(p_true, 4))


def find_answers(tokenizer: Any, folder: Path) -> tuple[int, int]:
    """Return the ids of the tokens that begin " True" and " False" after the prompt's end.

    Raises:
        UsageError: The tokenizer does not tell them apart there.
    """
    plain = tokenizer(CUE, add_special_tokens=False)["input_ids"]
    tokens = []
    for word in (" True", " False"):
        ids = tokenizer(CUE + word, add_special_tokens=False)["input_ids"]
        follows = len(ids) > len(plain) and ids[: len(plain)] == plain
        tokens.append(ids[len(plain)] if follows else None)
    true, false = tokens
    if true is None or false is None or true == false or tokenizer.unk_token_id in (true, false):
        raise UsageError(
            f"the tokenizer of {folder} has no two tokens for True and False after {CUE!r} (found {true} and {false}): "
            "this model cannot be asked. Another verifier is needed."
        )
    return int(true), int(false)
