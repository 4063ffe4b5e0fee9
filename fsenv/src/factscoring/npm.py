"""The nonparametric check of a fact: does a masked language model find the fact's words in its passages?

The algorithm of FActScore's NPM (Min et al. 2023, section 4; model: Min et al., "Nonparametric Masked Language Modeling",
2022). A token of the fact is masked and the model's last hidden state there is the query; it is compared with the last
hidden state of every token of the passages. The share of the scores that falls on tokens equal to the masked one is its
probability, and the mean over the fact's tokens that are no stop words is the fact's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factscoring.compat import count_positions, load_masked_lm
from factscoring.stopwords import stop_tokens
from volume.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    Ids = NDArray[np.int64]

PREFIX = "Fact:"
THRESHOLD = 0.3  # FActScore's
_ATOMS = 32  # facts whose passages and masked sentences are held at once
_CACHED = 128  # passages, of 1 MiB each at 256 tokens of 1024 numbers


@dataclass
class Encoded:
    """How many texts the model was run on."""

    passages: int = 0
    sentences: int = 0


@dataclass
class _Masked:
    """A fact to look up: its masked sentences, the ids masked in them, and where."""

    passages: Sequence[str]
    sentences: list[list[int]]
    gold: list[int]
    places: list[int]


class Npm:
    """Looks facts up with the masked language model in a folder.

    Args:
        folder: A Hugging Face model folder, of facebook/npm or its like.
        dtype: float32, bfloat16 or float16.
        threshold: A fact is supported when its probability is above it.
        batch_rows: Texts per forward pass.

    Raises:
        UsageError: There is no such model, or its tokenizer has no mask.
    """

    def __init__(self, folder: Path, dtype: str = "float32", threshold: float = THRESHOLD, batch_rows: int = 32) -> None:
        self.tokenizer, self.model = load_masked_lm(folder, dtype)
        if self.tokenizer.mask_token_id is None:
            raise UsageError(f"the tokenizer of {folder} has no mask token: it belongs to no masked language model.")
        self.threshold = threshold
        self.encoded = Encoded()
        self._batch_rows = batch_rows
        self._positions = count_positions(self.model)
        self._special = sorted(filter(None, self.tokenizer.all_special_tokens), key=len, reverse=True)
        self._stops = stop_tokens(self.tokenizer)
        self._prefix = self._tokenise(PREFIX)
        empty = self.tokenizer("")["input_ids"]  # what the tokenizer puts around a text: [bos, eos]
        self._around = (empty[:1], empty[1:])
        self._known: OrderedDict[str, tuple[Ids, Vectors]] = OrderedDict()

    def probabilities(self, items: Sequence[tuple[str, Sequence[str]]]) -> list[float | None]:
        """Return the probability of every (atom, passages), in order.

        Returns:
            Numbers in [0, 1]; 0 where there are no passages, None for an atom of stop words only.
        """
        found: list[float | None] = []
        for start in range(0, len(items), _ATOMS):
            found += self._look_up(items[start : start + _ATOMS])
        return found

    def _look_up(self, items: Sequence[tuple[str, Sequence[str]]]) -> list[float | None]:
        import numpy as np

        atoms = [self._mask(atom, passages) for atom, passages in items]
        asked = [atom for atom in atoms if atom.gold and atom.passages]
        encoded = self._encode_passages(list(dict.fromkeys(passage for atom in asked for passage in atom.passages)))
        variants = [(ids, place) for atom in asked for ids, place in zip(atom.sentences, atom.places, strict=True)]
        states = self._encode([ids for ids, _ in variants])
        self.encoded.sentences += len(variants)
        queries = iter([state[place] for state, (_, place) in zip(states, variants, strict=True)])
        probabilities: list[float | None] = []
        for atom in atoms:
            if not atom.gold:
                probabilities.append(None)
            elif not atom.passages:
                probabilities.append(0.0)
            else:
                query = np.stack([next(queries) for _ in atom.gold])
                ids = np.concatenate([encoded[passage][0] for passage in atom.passages])
                vectors = np.concatenate([encoded[passage][1] for passage in atom.passages])
                probabilities.append(float(nonparametric_probability(query, np.asarray(atom.gold), ids, vectors).mean()))
        return probabilities

    def _mask(self, atom: str, passages: Sequence[str]) -> _Masked:
        """Return the sentence "Fact: atom" once for each of its tokens that is looked up, with that token masked."""
        before, after = self._around
        ids = self._tokenise(f"{PREFIX} {atom}")
        if self._positions is not None:
            ids = ids[: self._positions - len(before) - len(after)]
        sentence = before + ids + after
        masked = _Masked([passage for passage in passages if passage.strip()], [], [], [])
        for place in range(len(before) + count_common(ids, self._prefix), len(before) + len(ids)):
            if sentence[place] not in self._stops:
                masked.sentences.append([*sentence[:place], self.tokenizer.mask_token_id, *sentence[place + 1 :]])
                masked.gold.append(sentence[place])
                masked.places.append(place)
        return masked

    def _encode_passages(self, passages: Sequence[str]) -> dict[str, tuple[Ids, Vectors]]:
        """Return the token ids and vectors of every passage; of a topic's facts, most have passages that were encoded for another."""
        import numpy as np

        new = [passage for passage in passages if passage not in self._known]
        rows = [self._tokenise(passage)[: self._positions] for passage in new]
        self.encoded.passages += len(new)
        encoded = {passage: self._known[passage] for passage in passages if passage in self._known}
        for passage, ids, vectors in zip(new, rows, self._encode(rows), strict=True):
            encoded[passage] = (np.asarray(ids, dtype=np.int64), vectors)
        for passage in passages:
            self._known[passage] = encoded[passage]
            self._known.move_to_end(passage)
        while len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return encoded

    def _encode(self, rows: Sequence[Sequence[int]]) -> list[Vectors]:
        """Return the last hidden state of every row's tokens, [tokens, d] each, in order; rows of like length go together."""
        import numpy as np
        import torch

        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        size = int(self.model.config.hidden_size)
        states: list[Vectors] = [np.zeros((0, size), dtype=np.float32) for _ in rows]
        with torch.inference_mode():
            for batch in batches([index for index in order if rows[index]], self._batch_rows):
                width = len(rows[batch[-1]])
                ids = [[*rows[index], *[self.tokenizer.pad_token_id] * (width - len(rows[index]))] for index in batch]
                mask = [[1] * len(rows[index]) + [0] * (width - len(rows[index])) for index in batch]
                device = self.model.device
                # The base model: the head over the vocabulary is not needed.
                out = self.model.base_model(input_ids=torch.tensor(ids, device=device), attention_mask=torch.tensor(mask, device=device))
                for index, state in zip(batch, out.last_hidden_state.float().cpu().numpy(), strict=True):
                    states[index] = state[: len(rows[index])].copy()  # a view would keep the whole batch
        return states

    def _tokenise(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens around it or in it."""
        for name in self._special:
            text = text.replace(name, "")
        return list(self.tokenizer(text.strip(), add_special_tokens=False)["input_ids"])


def nonparametric_probability(query_vectors: Vectors, gold_ids: Ids, passage_ids: Ids, passage_vectors: Vectors) -> NDArray[np.float64]:
    """Return the nonparametric probability of each masked token.

        p_i = sum over j with id_j = gold_i of s_ij  /  sum over all j of s_ij,     s_ij = exp(q_i . v_j / sqrt(d))

    (Min et al. 2022, equation 1, with the similarity scaled by sqrt(d) as in its code.) The largest exponent is subtracted
    first, which leaves the ratio as it is.

    Args:
        query_vectors: Hidden states at the masks. Shape: [q, d].
        gold_ids: Ids of the tokens that were masked. Shape: [q].
        passage_ids: Ids of the passages' tokens. Shape: [p].
        passage_vectors: Their hidden states. Shape: [p, d].

    Returns:
        Shape: [q], numbers in [0, 1]; 0 where no passage has the token.
    """
    import numpy as np

    if len(passage_ids) == 0:
        return np.zeros(len(gold_ids))
    exponents = query_vectors.astype(np.float64) @ passage_vectors.astype(np.float64).T / np.sqrt(query_vectors.shape[1])
    scores = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = (scores * (gold_ids[:, None] == passage_ids[None, :])).sum(axis=1) / scores.sum(axis=1)
    return found


def count_common(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many ids two sequences begin with alike."""
    return next((index for index, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yield runs of up to ``size`` indices."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
