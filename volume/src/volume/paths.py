"""Where everything of one dataset lives on the volume."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from volume.errors import UsageError

# What a file name cannot hold on the file systems that a volume may be on; "%" so that decoding is unambiguous.
_FORBIDDEN = set('/\\%\0<>:"|?*') | {chr(code) for code in range(32)}


def encode_topic(topic: str) -> str:
    """Return ``topic`` as a file name, percent-encoding only what a file name cannot hold."""
    encoded = "".join(_percent(char) if char in _FORBIDDEN else char for char in topic)
    if encoded.startswith("."):  # "." and ".." are folders, ".x" is hidden
        encoded = "%2E" + encoded[1:]
    return encoded


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def candidate_part(number: int) -> str:
    """Return where, below a run's evaluation, the responses of one of its candidates lie."""
    return f"candidates/{number}"


@dataclass(frozen=True)
class DatasetPaths:
    """The paths of one dataset, all below ``root`` = ``<data-dir>/dataset_<name>``."""

    root: Path

    @property
    def definition(self) -> Path:
        return self.root / "definition.json"

    @property
    def world(self) -> Path:
        return self.root / "world"

    @property
    def given(self) -> Path:
        """Files of a dataset made elsewhere, which are taken as they are: questions and responses."""
        return self.root / "given"

    @property
    def manifests(self) -> Path:
        return self.root / "manifests"

    @property
    def report(self) -> Path:
        return self.root / "report"

    def manifest(self, step: str) -> Path:
        return self.manifests / f"{step}.json"

    def journal(self, step: str) -> Path:
        return self.manifests / f"{step}.items.jsonl"

    def questions(self, split: str) -> Path:
        return self.root / f"questions_per_topic_{split}.json"

    def model(self, path: str) -> Path:
        """Return a model's folder; ``path`` is relative to the dataset's folder, as in the definition."""
        return self.root / path

    def responses(self, topic: str, run: str | None = None, part: str = "") -> Path:
        return self._of_run(run, part) / "responses" / f"{encode_topic(topic)}_generations.json"

    def factscore(self, topic: str, run: str | None = None, part: str = "") -> Path:
        return self._of_run(run, part) / "factscore_outputs" / f"{encode_topic(topic)}_fs_out.json"

    def judged(self, topic: str, run: str, judge: str) -> Path:
        """Return the file of a run's facts as another verifier judges them."""
        return self.eval(run) / "judges" / judge / f"{encode_topic(topic)}_fs_out.json"

    def atomic_qs(self, topic: str, run: str | None = None) -> Path:
        return self._of_run(run) / "atomic_qs" / f"{encode_topic(topic)}_aqs.json"

    def samples(self, sampler: str, topic: str, run: str | None = None) -> Path:
        return self._of_run(run) / "atomic_qs_samples" / sampler / f"{encode_topic(topic)}_samples.json"

    def ne_samples(self, sampler: str, topic: str) -> Path:
        return self.root / "ne_samples" / sampler / f"{encode_topic(topic)}_ne_samples.json"

    def rewards(self, split: str, n_topics: int) -> Path:
        return self.root / "rewards" / f"rewards_{split}_{n_topics}.json"

    def pairs_count(self, split: str, n_topics: int) -> Path:
        return self.root / "rewards" / f"pairs_count_{split}_{n_topics}.txt"

    def run(self, run: str) -> Path:
        return self.root / "runs" / run

    def export(self, run: str) -> Path:
        return self.run(run) / "export"

    def probes(self, run: str) -> Path:
        """Return the folder of the directions in which a run's decoder shifts attention heads."""
        return self.run(run) / "probes"

    def candidate(self, run: str, number: int) -> Path:
        """Return the folder of a policy that training kept along the way; the first has the number 1."""
        return self.run(run) / "candidates" / str(number)

    def candidates(self, run: str) -> Path:
        """Return the file that says at which steps they were kept."""
        return self.run(run) / "candidates" / "candidates.json"

    def choice(self, run: str) -> Path:
        """Return the file that says which of them was exported, and why."""
        return self.run(run) / "choice.json"

    def eval(self, run: str) -> Path:
        return self.root / "eval" / run

    def relevance(self, topic: str, run: str) -> Path:
        """Return the file that says which of the facts of a run's responses have to do with the question."""
        return self.eval(run) / "relevance" / f"{encode_topic(topic)}_relevance.json"

    def calibration(self, run: str) -> Path:
        """Return the file that sets a policy's confidence in its own claims against their verdicts."""
        return self.eval(run) / "calibration.json"

    def _of_run(self, run: str | None, part: str = "") -> Path:
        """Return where a policy's responses lie; ``part``: a further evaluation of the run, on another split or of a candidate."""
        return self.eval(run) / part if run else self.root

    def current_rewards(self, split: str) -> Path:
        """Return the split's rewards file: the one its manifest names, else the only one there is.

        Raises:
            UsageError: There is none, or there are several and no manifest says which one counts.
        """
        try:
            outputs = list(json.loads(self.manifest(f"rewards-{split}").read_text(encoding="utf-8"))["outputs"])
        except (OSError, ValueError, KeyError, TypeError):  # no manifest, or one that cannot be read: then the folder decides
            outputs = []
        for name in outputs:
            if Path(name).name.startswith(f"rewards_{split}_"):
                return self.root.parent / name  # outputs are named from the volume's root
        found = sorted((self.root / "rewards").glob(f"rewards_{split}_*.json"))
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(f"no rewards file for split '{split}' in {self.root / 'rewards'}. Run `make rewards` first.")
        names = ", ".join(path.name for path in found)
        raise UsageError(f"several rewards files for split '{split}' ({names}). Keep the one to train on, move the others.")
