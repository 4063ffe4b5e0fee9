"""The chain of hashes from a file back to its sources: which step wrote it, from what, and whether all of that still fits.

A file belongs to the step whose manifest lists it; what that step read belongs to others, and so on back to files that no step
makes. Everything here is computed from manifests as JSON and from one function that hashes a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from volume import FORMAT_VERSION
from volume.files import sha256_value
from volume.manifest import manifest_digest

Manifest = Mapping[str, Any]
Hash = Callable[[str], "str | None"]  # of a file by its path below the volume; None: there is none

# Where steps write, below a dataset's folder; a file there that no manifest lists was made by nothing that is known.
MADE = ("responses", "factscore_outputs", "atomic_qs", "atomic_qs_samples", "ne_samples", "rewards", "runs", "eval", "report")

# What the manifests of every version of the code hold.
_SHAPE: dict[str, type] = {
    "step": str, "status": str, "counts": dict, "failures": dict, "fingerprint": str, "outputs": dict, "definition": dict, "environment": dict,
    "notes": dict, "started": str, "finished": str, "seconds": float,
}  # fmt: skip
_DEPENDS: dict[str, type] = {"settings": dict, "code": str, "lock": str, "inputs": dict}


@dataclass(frozen=True)
class Problem:
    """A link of the chain that does not hold.

    Attributes:
        verdict: changed | missing | made by nothing | other version | failures hidden.
        what: The file, or the manifest.
        why: What was expected, in one sentence.
    """

    verdict: str
    what: str
    why: str


@dataclass(frozen=True)
class Book:
    """All manifests of a dataset.

    Attributes:
        folder: Name of the dataset's folder on the volume.
        manifests: {step, by its file's name: manifest}.
        broken: {step: why its manifest cannot be read}.
    """

    folder: str
    manifests: dict[str, dict[str, Any]]
    broken: dict[str, str]

    def makers(self) -> dict[str, str]:
        """Return {file: step that wrote it}; of several, the one that ended last."""
        ended = sorted(self.manifests, key=lambda step: (str(self.manifests[step]["finished"]), step))
        return {path: step for step in ended for path in self.manifests[step]["outputs"]}

    def readers(self) -> dict[str, list[str]]:
        """Return {file: steps that read it}."""
        found: dict[str, list[str]] = {}
        for step, manifest in self.manifests.items():
            for path in manifest["depends_on"]["inputs"]:
                found.setdefault(path, []).append(step)
        return found

    def is_made(self, path: str) -> bool:
        """Return whether a file lies where only steps write."""
        parts = PurePosixPath(path).parts
        if parts[0] != self.folder or len(parts) < 2:
            return False
        inside = "/".join(parts[1:])
        return parts[1] in MADE or any(_is_generated(inside, manifest["definition"]) for manifest in self.manifests.values())


def _is_generated(inside: str, definition: Mapping[str, Any]) -> bool:
    """Return whether a path in a dataset's folder is one of those that the steps of a generated world make: questions, knowledge, the base model."""
    if definition.get("world") is None:
        return False
    model = definition["models"][definition["responses"]["model"]]["path"] if definition.get("pretrain") else "models"
    return inside.startswith(("world/", "questions_per_topic_", f"{model}/")) or inside == (definition.get("knowledge") or {}).get("path")


@dataclass(frozen=True)
class Chain:
    """What files come from.

    Attributes:
        files: The files that were asked for.
        steps: The steps behind them, each before those whose files it read.
        sources: {file that no step makes: steps that read it}.
    """

    files: list[str]
    steps: list[str]
    sources: dict[str, list[str]]


def explain_fault(manifest: object) -> str | None:
    """Return why something is no manifest, or None when it is one."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_VERSION:
        return f"it is no manifest of format {FORMAT_VERSION}"
    depends = manifest.get("depends_on")
    if not isinstance(depends, dict):
        return "its value 'depends_on' is missing or of a wrong kind"
    wrong = [key for values, shape in ((manifest, _SHAPE), (depends, _DEPENDS)) for key, kind in shape.items() if not isinstance(values.get(key), kind)]
    return f"its value '{wrong[0]}' is missing or of a wrong kind" if wrong else None


def left_out(manifest: Manifest) -> set[str]:
    """Return the inputs that a bundle did not bring along with the outputs of this step (volume.bundle): they need not be here."""
    return set((manifest.get("given") or {}).get("left_out", ()))


def trace(book: Book, files: Iterable[str]) -> Chain:
    """Follow files back to their sources."""
    makers, readers = book.makers(), book.readers()
    asked = sorted(set(files))
    done: dict[str, None] = {}  # in the order in which a step and all that is behind it were left
    sources: dict[str, list[str]] = {path: readers.get(path, []) for path in asked if path not in makers}
    open_steps: list[tuple[str, Iterator[str]]] = []

    def enter(step: str) -> None:
        seen.add(step)
        absent = left_out(book.manifests[step])
        inputs = sorted(path for path, digest in book.manifests[step]["depends_on"]["inputs"].items() if digest is not None and path not in absent)
        for path in inputs:
            if path not in makers and step not in sources.setdefault(path, []):
                sources[path].append(step)
        open_steps.append((step, iter(dict.fromkeys(makers[path] for path in inputs if path in makers))))

    seen: set[str] = set()
    for first in dict.fromkeys(makers[path] for path in asked if path in makers):
        if first not in seen:
            enter(first)
        while open_steps:
            step, behind = open_steps[-1]
            following = next((name for name in behind if name not in seen), None)
            if following is not None:
                enter(following)
            else:
                done[step] = None
                open_steps.pop()
    return Chain(asked, list(reversed(done)), dict(sorted(sources.items())))


def find_problems(book: Book, chain: Chain, hash_of: Hash) -> list[Problem]:
    """Return every link of a chain that does not hold; none: it is verified.

    Every file of the chain is hashed once. A manifest that somebody edited no longer fits its own digest or fingerprint. Whoever
    rewrites files, manifests and digests alike leaves no trace: hashes show accidents and stale parts, they are no signature.
    """
    makers, found = book.makers(), dict[tuple[str, str], Problem]()

    def report(verdict: str, what: str, why: str) -> None:
        found.setdefault((verdict, what), Problem(verdict, what, why))

    def compare(path: str, expected: str | None, why: str) -> None:
        now = hash_of(path)
        if now != expected:
            report("missing" if now is None else "changed", path, why)

    def made_by(path: str) -> str | None:
        step = makers.get(path)
        if step is not None:
            compare(path, book.manifests[step]["outputs"][path], f"it is not as {step} wrote it")
        elif book.is_made(path):
            report("made by nothing", path, "no manifest lists it: its step has not ended, or its manifest is gone")
        return step

    readers = book.readers()
    for path in chain.files:
        if made_by(path) is None:
            for reader in readers.get(path, []):
                compare(path, book.manifests[reader]["depends_on"]["inputs"][path], f"it is not as {reader} read it")
            if path not in readers and not book.is_made(path):
                report("made by nothing", path, "no manifest knows it, neither as an output nor as an input")
        if hash_of(path) is None:
            report("missing", path, "there is no such file")
    for step in chain.steps:
        manifest = book.manifests[step]
        for verdict, why in _own_faults(step, manifest):
            report(verdict, f"{book.folder}/manifests/{step}.json", why)
        absent = {path for path in left_out(manifest) if hash_of(path) is None}
        for path, digest in manifest["depends_on"]["inputs"].items():
            if path in absent:
                continue
            maker = made_by(path) if digest is not None else makers.get(path)
            if maker is None:
                compare(path, digest, f"it is not as {step} read it" if digest is not None else f"it was not there when {step} ran")
            elif book.manifests[maker]["outputs"][path] != digest:
                report("other version", path, f"{step} read another version than {maker} has written since: it is stale")
    for step, why in book.broken.items():
        report("changed", f"{book.folder}/manifests/{step}.json", why)
    return list(found.values())


def _own_faults(step: str, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield (verdict, why) of what does not fit within one manifest."""
    if manifest["step"] != step:
        yield "changed", f"it is the manifest of {manifest['step']}"
    depends = manifest["depends_on"]
    if sha256_value([FORMAT_VERSION, depends["settings"], depends["code"], depends["lock"], depends["inputs"]]) != manifest["fingerprint"]:
        yield "changed", "its settings, code, lock or inputs do not give its fingerprint"
    if "digest" in manifest and manifest["digest"] != manifest_digest(manifest):
        yield "changed", "its values do not give its digest: somebody has edited it"
    failed, counts = len(manifest["failures"]), manifest["counts"]
    if manifest["status"] != ("partial" if failed else "complete"):
        yield "failures hidden", f"its status is '{manifest['status']}' with {failed} failed topic(s)"
    if "done" in counts and (counts.get("failed") != failed or counts["done"] + failed != counts.get("topics")):
        yield "failures hidden", f"of {counts.get('topics')} topics {counts['done']} are done and {failed} are listed as failed"
