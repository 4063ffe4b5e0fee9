"""Dense retrieval within one page: passages and facts as vectors of a sentence encoder (FActScore: GTR-T5), by inner product.

A page's vectors are kept on disk, so that every later response about its topic costs the encoding of its facts alone.
"""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factscoring.compat import check_folder
from volume.cards import choose_device
from volume.errors import UsageError
from volume.files import sha256_bytes, sha256_value, write_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

_WHOLE = 1 << 20  # bytes up to which a model's file is read in full for its identity
_ENDS = 1 << 16  # bytes at the beginning and at the end of a larger one


class Encoder:
    """The sentence-transformers model in a folder, with a cache of pages.

    Args:
        folder: A sentence-transformers folder (modules.json, config.json, weights).
        cache: Folder of the pages' vectors, {SHA-256}.npy; safe to delete.
        batch_size: Texts per forward pass.

    Raises:
        UsageError: There is no such model.
    """

    def __init__(self, folder: Path, cache: Path, batch_size: int = 64) -> None:
        if not (folder / "modules.json").is_file():
            raise UsageError(f"{folder} holds no sentence-transformers model (no modules.json). Put one there, or set retrieval.backend to 'bm25'.")
        self._model = load_encoder(folder)
        self._identity = identify(folder)
        self._cache, self._batch_size = cache, batch_size
        self.encoded = 0  # texts that the model was run on

    def encode_page(self, title: str, passages: Sequence[str]) -> Vectors:
        """Return the vectors of a page's passages, each encoded as "title passage". Shape: [n, d]; a page without passages is [0, 0].

        Raises:
            VolumeError: The cache cannot be written.
        """
        import numpy as np

        if not passages:
            return np.zeros((0, 0), dtype=np.float32)
        path = self._cache / f"{sha256_value([self._identity, title, list(passages)])}.npy"
        kept = read_vectors(path, len(passages))
        if kept is not None:
            return kept
        vectors = self._encode([f"{title} {passage}" for passage in passages])
        file = io.BytesIO()
        np.save(file, vectors, allow_pickle=False)
        write_bytes(path, file.getvalue())
        return vectors

    def encode_queries(self, queries: Sequence[str]) -> Vectors:
        """Return the vectors of queries. Shape: [n, d]."""
        return self._encode(queries)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        once = list(dict.fromkeys(texts))  # equal texts get equal vectors, bit by bit, so that ties are ties
        self.encoded += len(once)
        vectors = self._model.encode(once, batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True)
        places = {text: place for place, text in enumerate(once)}
        found: Vectors = np.asarray(vectors, dtype=np.float32)[[places[text] for text in texts]]
        return found


class DenseRetriever:
    """The passages of one page whose vectors have the largest inner products with a fact's.

    Args:
        topic: The page's title, a part of every query as in FActScore.
        passages: The page's passages.
        k: Passages per fact.
    """

    def __init__(self, encoder: Encoder, topic: str, passages: Sequence[str], k: int) -> None:
        self._encoder, self._topic, self._passages, self._k = encoder, topic, list(passages), k
        self._vectors = encoder.encode_page(topic, self._passages)

    def find_all(self, facts: Sequence[str]) -> list[list[str]]:
        """Return up to k passages for the query "topic fact" of every fact, best first; equal scores keep the page's order."""
        import numpy as np

        if not facts or not self._passages:
            return [[] for _ in facts]
        queries = self._encoder.encode_queries([f"{self._topic} {fact}" for fact in facts])
        order = np.argsort(-(queries @ self._vectors.T), axis=1, kind="stable")[:, : self._k]
        return [[self._passages[index] for index in row] for row in order.tolist()]


def load_encoder(folder: Path) -> Any:
    """Load a sentence-transformers model, on the GPU where there is one.

    Raises:
        UsageError: It cannot be read, or this environment cannot use the GPU.
    """
    check_folder(folder)
    import sentence_transformers
    import torch
    import transformers
    from safetensors import SafetensorError

    device = choose_device(torch)
    transformers.logging.set_verbosity_error()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # loading bars
            return sentence_transformers.SentenceTransformer(str(folder), device=device)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise UsageError(f"{folder} cannot be loaded as a sentence encoder: {type(error).__name__}: {error}. Put its files there once more.") from error


def identify(folder: Path) -> str:
    """Return a SHA-256 that tells models apart without reading gigabytes: names and sizes of the files, small ones' bytes, large ones' ends."""
    parts = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            size = path.stat().st_size
            with path.open("rb") as file:
                data = file.read(_WHOLE if size <= _WHOLE else _ENDS)
                if size > _WHOLE:
                    file.seek(-_ENDS, io.SEEK_END)
                    data += file.read()
            parts[str(path.relative_to(folder))] = [size, sha256_bytes(data)]
    return sha256_value(parts)


def read_vectors(path: Path, rows: int) -> Vectors | None:
    """Return the vectors of a cache file; None where there is none, or none that is whole: it is then made anew."""
    import numpy as np

    try:
        with path.open("rb") as file:
            vectors = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != rows or not np.isfinite(vectors).all():
        return None
    return vectors
