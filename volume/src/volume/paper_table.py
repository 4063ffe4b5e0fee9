"""A table of the paper beside ours: what differs from the paper's setting, the verdict on each cell, and the text of it all.

Pure functions. Shares of correct facts are in per cent here; the paper prints them as shares of 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volume.experiments import Cell, Row

MICRO, MACRO, CORRECT, INCORRECT = "percent_correct", "percent_correct_macro", "correct", "incorrect"
FIGURES = (CORRECT, INCORRECT, MICRO, MACRO)
DECODING = "sample"  # the paper samples "in the normal manner"
JUDGES = ("truth", "verifier")  # the first that a summary has is the table's

# What the settings of a definition are about, in the words of a verdict; and those that change no figure.
_TOPICS = {
    "topics": "topics", "knowledge": "verifier", "retrieval": "verifier", "verifier": "verifier", "facts": "LLM", "questions": "LLM", "relevance": "judge",
    "equivalence": "equivalence", "responses": "sampling", "answers": "sampling", "entities": "sampling", "eval": "sampling", "decoders": "decoder",
    "rewards": "reward", "sft": "training", "dpo": "training",
}  # fmt: skip
_IDLE = {
    "batch_rows", "samples_per_call", "topics_at_once", "served", "gib", "device_map", "zero_stage", "offload", "tokens_at_once", "share_prompts",
    "activation_checkpointing", "log_every", "checkpoint_every", "eval_every", "eval_samples", "calibrated", "bootstrap", "passage_order", "module",
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure over all seeds with the bounds of its 95 % interval, and each seed's own value; None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    seeds: tuple[float | None, ...] = ()

    def covers(self, printed: float) -> bool | None:
        """Return whether the interval has a printed value in it, None where there is no interval."""
        return None if self.low is None or self.high is None else self.low <= printed <= self.high


@dataclass(frozen=True)
class Ours:
    """What was measured for one row on one dataset.

    Attributes:
        judge: Whose verdicts the figures count.
        figures: {judge: {figure: over all seeds}}.
        differences: The same against the run that the row is compared with.
        seeds: The seeds that were run.
        changes: {word: in full}: what differs from the packaged definition, or from the stack of the paper.
    """

    judge: str
    figures: Mapping[str, Mapping[str, Figure]]
    differences: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    changes: Mapping[str, str] = field(default_factory=dict)

    def figure(self, name: str, judge: str = "") -> Figure:
        return self.figures.get(judge or self.judge, {}).get(name, Figure(None))

    def difference(self, name: str) -> Figure:
        return self.differences.get(self.judge, {}).get(name, Figure(None))


@dataclass(frozen=True)
class Line:
    """One row on one dataset: the paper's cell, None where it has none; ours, None where nothing was run."""

    row: Row
    column: str
    cell: Cell | None
    ours: Ours | None

    @property
    def verdict(self) -> str:
        return decide(self.row, self.cell, self.ours)


def read_ours(run: Mapping[str, Any], seeds: Sequence[int], changes: Mapping[str, str]) -> Ours | None:
    """Return what was measured, from a run's part of the file that confscoring.across writes; None where it has no sampled responses.

    Args:
        run: {"decodings": {decoding: {"figures": {judge: {figure: {value, low, high, seeds, difference}}}}}}; `difference`, from the run that it
            is compared with, has the same four and need not be there.
    """
    found = run["decodings"].get(DECODING, {"figures": {}})["figures"]
    judge = next((name for name in JUDGES if name in found), "")
    differences = {name: {key: part["difference"] for key, part in figures.items() if "difference" in part} for name, figures in found.items()}
    return Ours(judge, _figures(found), _figures(differences), tuple(seeds), changes) if judge else None


def _figures(raw: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Figure]]:
    return {judge: {name: Figure(part["value"], part["low"], part["high"], tuple(part["seeds"])) for name, part in figures.items()} for judge, figures in raw.items()}


def decide(row: Row, cell: Cell | None, ours: Ours | None) -> str:
    """Return the verdict on a cell: `within` where our interval has the printed share of correct facts in it, else `outside`.

    Where something is known to differ from the paper's experiment it begins with `deviated` and names that.
    """
    if ours is None:
        return "not run"
    if cell is None:
        return ""
    covered = ours.figure(key_of(cell)).covers(100 * cell.share)
    word = {True: "within", False: "outside", None: "no interval"}[covered]
    reasons = (*ours.changes, *row.deviates)
    return f"deviated, {word}: {', '.join(dict.fromkeys(reasons))}" if reasons else word


def key_of(cell: Cell) -> str:
    """Return our figure that is the same average as a printed share."""
    return MICRO if cell.average == "micro" else MACRO


def find_changes(pinned: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, str]:
    """Return {word: in full} of what a definition that was used has otherwise than the packaged one; both as JSON values.

    The seed, and what changes no figure, may differ.
    """
    found: dict[str, list[str]] = {}
    for section, word in _TOPICS.items():
        for key, before, after in _differing(section, pinned.get(section), used.get(section)):
            # Which service's model it was is one thing, which rules it followed another.
            said = word if word != "LLM" or key.rpartition(".")[2] in ("model", "temperature", "max_tokens") else "facts"
            found.setdefault(said, []).append(f"{key} is {after!r}, not {before!r}")
    for name, model in pinned.get("models", {}).items():
        for key, before, after in _differing(f"models.{name}", model, used.get("models", {}).get(name)):
            if key.rpartition(".")[2] in ("path", "source", "revision", "dtype", "chat"):
                found.setdefault("model", []).append(f"{key} is {after!r}, not {before!r}")
    before, after = (definition.get("llm", {}).get("base_url", "") for definition in (pinned, used))
    if before != after:
        found.setdefault("LLM", []).append("another service than the packaged definition's")
    return {word: "; ".join(details[:3]) + (f"; and {len(details) - 3} more" if len(details) > 3 else "") for word, details in found.items()}


def _differing(name: str, before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in dict.fromkeys((*before, *after)) if key not in _IDLE]
        return [change for key in keys for change in _differing(f"{name}.{key}", before.get(key), after.get(key))]
    return [] if before == after else [(name, before, after)]


def render(lines: Sequence[Line], reference: str = "SFT") -> str:
    """Return the paper's table beside ours as Markdown whose columns stand in line on a terminal, too."""
    measured = ["ours: correct", "incorrect", "% correct, micro", "macro", f"against {reference}", "seeds"]
    head = ["row", "label", "data", "paper: correct", "incorrect", "% correct", *measured, "verdict"]
    rows = []
    for line in lines:
        cell, ours = line.cell, line.ours
        printed = [fixed(cell.correct, 2), fixed(cell.incorrect, 2), f"{100 * cell.share:.1f}{'' if cell.correct is None else f' {cell.average}'}"] if cell else ["–"] * 3
        verdict = f"not run: {line.row.cannot}" if line.row.cannot else line.verdict
        rows.append([line.row.name, line.row.label, line.column, *printed, *_measured(ours, key_of(cell) if cell else MICRO), verdict])
    return _aligned(head, rows)


def render_methods(lines: Sequence[Line], reference: str = "SFT") -> str:
    """Return the table of methods, likewise; where there is a truth, what the verifier that rewarded says beside it."""
    second = any(line.ours and line.ours.judge == "truth" for line in lines)
    head = ["method", "correct", "incorrect", "% correct, micro", "macro", f"against {reference}", *(["by the verifier"] if second else []), "words", "seeds"]
    rows = []
    for line in lines:
        *figures, seeds = _measured(line.ours, MICRO)
        more = [interval(line.ours.figure(MICRO, "verifier") if line.ours else Figure(None))] if second else []
        rows.append([line.row.label, *figures, *more, fixed(line.ours.figure("words", "plain").value if line.ours else None), seeds if line.ours else "not run"])
    return _aligned(head, rows)


def _measured(ours: Ours | None, compared: str) -> list[str]:
    """Return the cells of what was measured, from the correct facts to the number of seeds."""
    if ours is None:
        return ["–"] * 6
    counts = [fixed(ours.figure(name).value, 2) for name in (CORRECT, INCORRECT)]
    return [*counts, interval(ours.figure(MICRO)), interval(ours.figure(MACRO)), interval(ours.difference(compared), signed=True), str(len(ours.seeds))]


def fixed(value: float | None, digits: int = 1, signed: bool = False) -> str:
    """Return a number with a fixed number of digits, a dash for None."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", "−")


def interval(figure: Figure, signed: bool = False) -> str:
    """Return a figure with its interval: 74.1 [70.2, 78.0]."""
    if figure.low is None or figure.high is None:
        return fixed(figure.value, 1, signed)
    return f"{fixed(figure.value, 1, signed)} [{fixed(figure.low, 1, signed)}, {fixed(figure.high, 1, signed)}]"


def _aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rows = list(rows)
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    written = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in (head, *rows)]
    return "\n".join([written[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *written[1:]]) + "\n"


def describe_notes(lines: Sequence[Line], notes: Mapping[str, str]) -> list[str]:
    """Return in words what the verdicts name, each once; what differs by a run's settings with its settings."""
    named = {word: notes[word] for line in lines if line.ours for word in line.row.deviates}
    for line in lines:
        for word, detail in line.ours.changes.items() if line.ours else ():
            named[word] = f"{named[word]}; {detail}" if word in named and detail not in named[word] else named.get(word, detail)
    return [f"- {word}: {text}" for word, text in named.items()]


def as_csv(lines: Sequence[Line]) -> str:
    """Return every number of a table, one line per row and dataset."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    bounds = ("", "_low", "_high")
    ours = [f"{name}{bound}" for name in (*FIGURES, *(f"difference_{name}" for name in FIGURES)) for bound in bounds]
    writer.writerow(["row", "label", "dataset", "paper_correct", "paper_incorrect", "paper_share", "paper_average", "judge", *ours, "seeds", "verdict"])
    for line in lines:
        cell, found = line.cell, line.ours
        figures = [*(found.figure(name) for name in FIGURES), *(found.difference(name) for name in FIGURES)] if found else [Figure(None)] * (2 * len(FIGURES))
        numbers = [number for figure in figures for number in (figure.value, figure.low, figure.high)]
        printed = [cell.correct, cell.incorrect, cell.share, cell.average] if cell else [None] * 4
        seeds = " ".join(map(str, found.seeds)) if found else ""
        writer.writerow([line.row.name, line.row.label, line.column, *printed, found.judge if found else "", *numbers, seeds, line.verdict])
    return out.getvalue()


def as_value(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return a table as JSON values, with whether our intervals have the printed counts in them."""
    return [_line_value(line) for line in lines]


def _line_value(line: Line) -> dict[str, Any]:
    cell, ours = line.cell, line.ours
    printed = {CORRECT: cell.correct, INCORRECT: cell.incorrect, key_of(cell): 100 * cell.share} if cell else {}
    row = {name: getattr(line.row, name) for name in ("name", "group", "label", "base", "method", "reward", "decoder", "cannot")}
    return {
        **row, "dataset": line.column, "deviates": list(line.row.deviates),
        "paper": {"correct": cell.correct, "incorrect": cell.incorrect, "share": cell.share, "average": cell.average} if cell else None,
        "ours": None if ours is None else {
            "judge": ours.judge, "seeds": list(ours.seeds), "figures": _values(ours.figures), "differences": _values(ours.differences), "changes": dict(ours.changes),
        },
        "covers": {name: ours.figure(name).covers(value) for name, value in printed.items() if value is not None} if ours else {},
        "verdict": line.verdict,
    }  # fmt: skip


def _values(figures: Mapping[str, Mapping[str, Figure]]) -> dict[str, Any]:
    return {
        judge: {name: {"value": figure.value, "low": figure.low, "high": figure.high, "seeds": list(figure.seeds)} for name, figure in found.items()}
        for judge, found in figures.items()
    }  # fmt: skip
