"""The nonparametric check: a hand-worked example, and a straightforward reference on a tiny random RoBERTa."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_llama, make_roberta

from factscoring.npm import Npm, nonparametric_probability
from volume.errors import UsageError

PASSAGES = ["Ada Albane is the subject of this article.", "She was born in Ostrel.", "Albane lives in Kelford with two dogs."]
ITEMS = [
    ("Ada Albane was born in Ostrel.", PASSAGES),
    ("Albane lives in Tarwick.", PASSAGES[1:]),
    ("Albane has dogs.", PASSAGES[2:]),
    ("is in the.", PASSAGES),
    ("Albane won the Rubyquill.", []),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_roberta(tmp_path_factory.mktemp("roberta"))


def test_a_probability_is_the_share_of_the_scores_on_equal_tokens() -> None:
    # d = 4, so the exponents are halved. Query 1 is (2 ln 3, 0, 0, 0): exponents ln 3, 0, 0 give the scores 3, 1, 1.
    #   Token 7 stands at places 1 and 3: (3 + 1) / 5 = 0.8.
    # Query 2 is (0, 2 ln 2, 0, 0): scores 1, 2, 1. Token 8 stands at place 2: 2 / 4 = 0.5. Token 9 is nowhere: 0.
    queries = np.array([[2 * math.log(3), 0, 0, 0], [0, 2 * math.log(2), 0, 0], [0, 2 * math.log(2), 0, 0]], dtype=np.float32)
    vectors = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]], dtype=np.float32)
    found = nonparametric_probability(queries, np.array([7, 8, 9]), np.array([7, 8, 7]), vectors)
    assert found == pytest.approx([0.8, 0.5, 0.0], abs=1e-7)


def test_large_products_do_not_overflow() -> None:
    queries, vectors = np.array([[1e4]], dtype=np.float32), np.array([[1.0], [1.0], [-1.0]], dtype=np.float32)
    assert nonparametric_probability(queries, np.array([1]), np.array([1, 2, 1]), vectors) == pytest.approx([0.5])


def test_without_passages_no_token_is_found() -> None:
    found = nonparametric_probability(np.ones((2, 3), np.float32), np.array([1, 2]), np.zeros(0, np.int64), np.zeros((0, 3), np.float32))
    assert found.tolist() == [0.0, 0.0]


def reference(npm: Npm, atom: str, passages: list[str], stops: frozenset[int]) -> float | None:
    """FActScore's computation, one sequence at a time, with exp as it is."""

    def states(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            return npm.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0].numpy()

    tokens = [npm.tokenizer(passage, add_special_tokens=False)["input_ids"] for passage in passages]
    ids, vectors = np.concatenate(tokens), np.concatenate([states(row) for row in tokens])
    sentence = npm.tokenizer(f"Fact: {atom}")["input_ids"]
    start = 1 + len(npm.tokenizer("Fact:", add_special_tokens=False)["input_ids"])
    found = []
    for place in range(start, len(sentence) - 1):
        gold = sentence[place]
        if gold in stops:
            continue
        query = states([*sentence[:place], npm.tokenizer.mask_token_id, *sentence[place + 1 :]])[place]
        scores = np.exp(vectors @ query / math.sqrt(len(query)))
        found.append(scores[ids == gold].sum() / scores.sum())
    return float(np.mean(found)) if found else None


def test_probabilities_are_those_of_one_sequence_at_a_time(folder: Path) -> None:
    npm = Npm(folder)
    for (atom, passages), found in zip(ITEMS[:3], npm.probabilities(ITEMS[:3]), strict=True):
        assert found == pytest.approx(reference(npm, atom, passages, npm._stops), abs=1e-5)
        assert found is not None and 0 < found < 1


def test_probabilities_do_not_depend_on_batches_order_or_company(folder: Path) -> None:
    items = ITEMS * 8  # more than are looked up at once
    expected = Npm(folder).probabilities(items)
    for rows in (1, 5):
        assert Npm(folder, batch_rows=rows).probabilities(items) == pytest.approx(expected, abs=1e-5)
    assert Npm(folder).probabilities(items[::-1])[::-1] == pytest.approx(expected, abs=1e-5)
    npm = Npm(folder)
    assert [npm.probabilities([item])[0] for item in ITEMS] == pytest.approx(expected[: len(ITEMS)], abs=1e-5)
    assert npm.probabilities([]) == []


def test_a_fact_of_stop_words_has_no_probability_and_one_without_passages_has_none_of_it(folder: Path) -> None:
    npm = Npm(folder)
    assert npm.probabilities([ITEMS[3], ITEMS[4], ("", PASSAGES), ("is", []), ("Albane", ["", "  "])]) == [None, 0.0, None, None, 0.0]
    assert npm.encoded.passages == npm.encoded.sentences == 0


def test_stop_words_are_known_with_and_without_a_space_and_a_capital(folder: Path) -> None:
    npm = Npm(folder)
    known = {npm.tokenizer.convert_ids_to_tokens(token) for token in npm._stops}
    assert {"Ġthe", "Ġis", "Ġin", "She", ".", ":"} <= known
    assert not {"ĠAlbane", "ĠOstrel"} & known
    assert not npm._stops & set(npm.tokenizer.all_special_ids)


def test_a_passage_is_encoded_once_for_all_facts(folder: Path) -> None:
    npm = Npm(folder)
    npm.probabilities([(f"Albane {number} dogs.", PASSAGES) for number in range(70)])
    assert npm.encoded.passages == 3
    npm.probabilities([("Albane.", PASSAGES[:1])])
    assert npm.encoded.passages == 3


def test_texts_longer_than_the_model_are_cut(folder: Path) -> None:
    npm = Npm(folder)
    (long,) = npm.probabilities([("Albane " * 200, ["Albane was born in Ostrel. " * 100])])
    assert long is not None and 0 <= long <= 1
    assert npm.encoded.sentences < 128


def test_names_of_special_tokens_in_a_text_are_no_special_tokens(folder: Path) -> None:
    npm = Npm(folder)
    marked, plain = npm.probabilities([("Albane <mask>lives.</s>", ["<s>Albane lives.</s>"]), ("Albane lives.", ["Albane lives."])])
    assert marked == pytest.approx(plain, abs=1e-6)


def test_the_threshold_is_factscores(folder: Path) -> None:
    assert Npm(folder).threshold == 0.3 and Npm(folder, threshold=0.4).threshold == 0.4


def test_a_folder_without_a_masked_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        Npm(tmp_path / "nothing")
    with pytest.raises(UsageError):
        Npm(make_llama(tmp_path / "llama"))
