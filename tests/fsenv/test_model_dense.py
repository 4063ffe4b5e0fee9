"""Dense retrieval on a tiny random sentence encoder: as sentence-transformers alone has it, and each page encoded once."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from tiny_models import make_encoder

from factscoring.dense import DenseRetriever, Encoder, identify
from volume.errors import UsageError

TOPIC = "Ada Albane"
PASSAGES = ["She was born in Ostrel.", "Albane lives in Kelford with two dogs.", "The river is long.", "She won the Rubyquill in Ostrel, and more.", "Title"]
FACTS = ["Albane was born in Ostrel.", "Albane has dogs.", "The river."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.mark.parametrize("batch_size", [1, 64])
def test_passages_are_those_of_sentence_transformers_alone(folder: Path, tmp_path: Path, batch_size: int) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder))
    retriever = DenseRetriever(Encoder(folder, tmp_path, batch_size), TOPIC, PASSAGES, 3)
    for fact, found in zip(FACTS, retriever.find_all(FACTS), strict=True):
        scores = [float(np.inner(model.encode(f"{TOPIC} {fact}"), model.encode(f"{TOPIC} {passage}"))) for passage in PASSAGES]
        best = sorted(range(len(PASSAGES)), key=lambda index: -scores[index])
        assert min(scores[best[0]] - scores[best[1]], scores[best[2]] - scores[best[3]]) > 1e-5  # no tie that rounding could turn
        assert found == [PASSAGES[index] for index in best[:3]]


def test_a_page_is_encoded_once_and_read_from_the_cache_from_then_on(folder: Path, tmp_path: Path) -> None:
    encoder = Encoder(folder, tmp_path)
    first = encoder.encode_page(TOPIC, PASSAGES)
    assert first.shape == (5, 32) and first.dtype == np.float32 and encoder.encoded == 5
    again = Encoder(folder, tmp_path)
    assert np.array_equal(again.encode_page(TOPIC, PASSAGES), first) and again.encoded == 0
    again.encode_page(TOPIC, PASSAGES[:4])
    again.encode_page("Oskar Venn", PASSAGES)
    assert again.encoded == 9 and len(list(tmp_path.glob("*.npy"))) == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "pickle", "rows", "type", "nan"])
def test_a_broken_cache_file_is_made_anew_and_never_unpickled(folder: Path, tmp_path: Path, damage: str) -> None:
    encoder = Encoder(folder, tmp_path)
    expected = encoder.encode_page(TOPIC, PASSAGES)
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()

    def saved(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        return file.getvalue()

    contents = {
        "empty": b"", "cut": whole[:-5], "text": b"no array", "pickle": saved(np.array([{"a": 1}] * 5, dtype=object)),
        "rows": saved(expected[:4]), "type": saved(expected.astype(np.float64)), "nan": saved(expected * np.float32("nan")),
    }  # fmt: skip
    path.write_bytes(contents[damage])
    assert np.allclose(encoder.encode_page(TOPIC, PASSAGES), expected, atol=1e-6) and encoder.encoded == 10
    assert len(path.read_bytes()) == len(whole)


def test_another_model_does_not_read_this_ones_vectors(folder: Path, tmp_path: Path) -> None:
    other = make_encoder(tmp_path / "other", seed=1)
    assert identify(folder) == identify(folder) != identify(other)
    assert identify(make_encoder(tmp_path / "same")) == identify(folder)
    first, second = Encoder(folder, tmp_path / "cache"), Encoder(other, tmp_path / "cache")
    assert not np.allclose(first.encode_page(TOPIC, PASSAGES), second.encode_page(TOPIC, PASSAGES))


class HandMade:
    """Vectors of two numbers, written down."""

    def encode_page(self, title: str, passages: list[str]) -> np.ndarray:
        return np.array([[1, 0], [0, 2], [1, 0], [2, 1], [0, 2]], dtype=np.float32)

    def encode_queries(self, queries: list[str]) -> np.ndarray:
        assert queries == ["Ada Albane first", "Ada Albane second"]  # the topic is a part of every query
        return np.array([[1, 0], [1, 1]], dtype=np.float32)


def test_passages_come_best_first_and_ties_keep_the_pages_order() -> None:
    # First: inner products 1 0 1 2 0. Second: 1 2 1 3 2.
    retriever = DenseRetriever(HandMade(), TOPIC, ["a", "b", "c", "d", "e"], 9)  # type: ignore[arg-type]
    assert retriever.find_all(["first", "second"]) == [["d", "a", "c", "b", "e"], ["d", "b", "e", "a", "c"]]


def test_equal_passages_have_equal_vectors_bit_by_bit(folder: Path, tmp_path: Path) -> None:
    encoder = Encoder(folder, tmp_path, batch_size=2)
    vectors = encoder.encode_page(TOPIC, ["The river is long.", "Dogs.", "The river is long.", "Born.", "The river is long."])
    assert encoder.encoded == 3 and np.array_equal(vectors[0], vectors[2]) and np.array_equal(vectors[0], vectors[4])


def test_a_page_without_passages_and_no_facts_are_no_errors(folder: Path, tmp_path: Path) -> None:
    encoder = Encoder(folder, tmp_path)
    assert DenseRetriever(encoder, TOPIC, [], 5).find_all(FACTS) == [[], [], []]
    assert encoder.encoded == 0
    assert DenseRetriever(encoder, TOPIC, PASSAGES, 5).find_all([]) == []


def test_a_folder_without_an_encoder_is_a_usage_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no modules\.json"):
        Encoder(tmp_path, tmp_path)
    (tmp_path / "modules.json").write_text((folder / "modules.json").read_text())
    with pytest.raises(UsageError, match=r"no config\.json"):
        Encoder(tmp_path, tmp_path)
