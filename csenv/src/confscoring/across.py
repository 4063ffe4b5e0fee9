"""The figures of runs over several seeds: means with 95 % intervals, and paired differences from a reference.

    python -m confscoring.across --job job.json --output across.json

The job: {"runs": {name: [summary.json of each seed]}, "reference": {name: [those of the run that it is compared with, in the same
order]}, "resamples": 2000, "seed": 0}; a run that `reference` does not name is not compared, and the last three may be left out.
Writes {"format": 1, "resamples", "seed", "runs": {name: {"run", "label", "reference", "seeds", "topics", "shared_topics", "decodings"}}}.

A figure is the mean over seeds of each seed's own. The interval comes from drawing topics within each seed. Seeds that share topics share the
draws, since what is hard to say of a topic is hard for all of them: intervals of different topics for each would be too narrow.
Not covered: how far a further seed would be from these; for that each seed's own figure is given.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from confscoring.measures import JUDGED, PLAIN, Figure, Sums, columns
from confscoring.statistics import Counts, Interval, Pair, draw_people, mean_difference, mean_ratio
from volume.errors import COMPLETE, RecordError, UsageError, tell_errors
from volume.files import write_json
from volume.records import load

RESAMPLES = 2000


class _Given(TypedDict):
    runs: dict[str, list[str]]


class Job(_Given, total=False):
    """What is asked for; NotRequired would be invisible in a module whose annotations are strings."""

    reference: dict[str, list[str]]
    resamples: int
    seed: int


class PerPerson(TypedDict):
    """The counts behind a summary, one number per topic."""

    names: list[str]
    sums: dict[str, dict[str, list[int]]]


class _Evaluated(TypedDict):
    dataset: str
    seed: int
    run: str
    label: str
    split: str
    judges: list[str]
    per_person: PerPerson


class Summary(_Evaluated, total=False):
    """The part of eval/{run}/summary.json that is needed here."""

    second_judges: dict[str, list[str]]


def combine(seeds: Sequence[Summary], reference: Sequence[Summary] | None, resamples: int, seed: int) -> dict[str, Any]:
    """Return the figures of one run over its seeds.

    Args:
        seeds: Its summaries.
        reference: Those of the run that it is compared with, one for each; None where it is compared with none.
        resamples, seed: Of the bootstrap.

    Returns:
        "decodings": {decoding: {"figures": {judge, or "plain": {figure: {"value", "low", "high", "seeds": [number], "difference"}}}}}, where
        "difference" has the same four and is there with a reference alone.
    """
    own = [summary["per_person"] for summary in seeds]
    common = [_common(ours["per_person"]["names"], theirs["per_person"]["names"]) for ours, theirs in zip(seeds, reference, strict=True)] if reference else None
    draws, paired = draw_seeds([part["names"] for part in own], resamples, seed), draw_seeds(common, resamples, seed) if common else None
    judges = [judge for judge in _judges(seeds[0]) if all(judge in _judges(summary) for summary in seeds)]
    decodings: dict[str, Any] = {}
    for decoding in (name for name in own[0]["sums"] if all(name in part["sums"] for part in own)):
        sums = [part["sums"][decoding] for part in own]
        others = _of_common(seeds, reference, common, decoding) if reference and common else None
        figures: dict[str, dict[str, Any]] = {}
        for judge, wanted in (*((judge, JUDGED) for judge in judges), ("plain", PLAIN)):
            figures[judge] = {}
            for name, figure in wanted.items():
                pairs = _columns(judge, figure, sums)
                if pairs is None:
                    continue
                entry = _over(pairs, draws, figure.scale)
                first, second = (_columns(judge, figure, part) for part in others) if others else (None, None)
                if first and second and paired:
                    entry["difference"] = _difference(first, second, paired, figure.scale)
                figures[judge][name] = entry
        decodings[decoding] = {"figures": figures}
    names = [part["names"] for part in own]
    return {
        "run": seeds[0]["run"], "label": seeds[0]["label"], "reference": reference[0]["run"] if reference else None,
        "seeds": [{"dataset": summary["dataset"], "seed": summary["seed"], "topics": len(part)} for summary, part in zip(seeds, names, strict=True)],
        "topics": len({name for part in names for name in part}), "shared_topics": _share(names), "decodings": decodings,
    }  # fmt: skip


def draw_seeds(names: Sequence[Sequence[str]], resamples: int, seed: int) -> list[Counts]:
    """Return how often each topic of each seed is drawn in each resample.

    Where two seeds have a topic in common, all of them share the draws over all topics; else each has draws of its own.

    Args:
        names: The topics of each seed, in the order of its counts.
        resamples: Number of resamples.
        seed: Key of the draws; those of a single seed are the draws of its evaluation.
    """
    if not _share(names):
        return [draw_people(len(own), resamples, seed + (index << 64)) for index, own in enumerate(names)]
    everyone = list(dict.fromkeys(name for own in names for name in own))
    place = {name: index for index, name in enumerate(everyone)}
    draws = draw_people(len(everyone), resamples, seed)
    return [draws[:, [place[name] for name in own]] for own in names]


def _share(names: Sequence[Sequence[str]]) -> bool:
    return len({name for own in names for name in own}) < sum(len(own) for own in names)


def _over(pairs: Sequence[Pair], draws: Sequence[Counts], scale: float) -> dict[str, Any]:
    each = list(zip(pairs, draws, strict=True))
    return _with_seeds(mean_ratio(each, scale), [mean_ratio([part], scale) for part in each])


def _difference(first: Sequence[Pair], second: Sequence[Pair], draws: Sequence[Counts], scale: float) -> dict[str, Any]:
    each = list(zip(first, second, draws, strict=True))
    return _with_seeds(mean_difference(each, scale), [mean_difference([part], scale) for part in each])


def _with_seeds(found: Interval, seeds: Sequence[Interval]) -> dict[str, Any]:
    return {**found, "seeds": [own["value"] for own in seeds]}


def _judges(summary: Summary) -> list[str]:
    return [*summary["judges"], *summary.get("second_judges", {})]


def _columns(judge: str, figure: Figure, sums: Sequence[Mapping[str, Sequence[int]]]) -> list[Pair] | None:
    """Return a figure's numerators and denominators at each seed; None where one of them has not counted it."""
    found = [columns(judge, figure, own) for own in sums]
    known = [pair for pair in found if pair is not None]
    return known if len(known) == len(found) else None


def _common(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    there = set(theirs)
    return [name for name in ours if name in there]


def _of_common(
    seeds: Sequence[Summary], reference: Sequence[Summary], common: Sequence[Sequence[str]], decoding: str
) -> tuple[list[Sums], list[Sums]] | None:
    """Return the counts of both runs at each seed, of the topics that both have; None where the reference was not decoded like this."""
    if any(decoding not in summary["per_person"]["sums"] for summary in reference):
        return None
    sides: list[list[Sums]] = []
    for side in (seeds, reference):
        sides.append([])
        for summary, names in zip(side, common, strict=True):
            place = {name: index for index, name in enumerate(summary["per_person"]["names"])}
            sums = summary["per_person"]["sums"][decoding]
            sides[-1].append({count: [numbers[place[name]] for name in names] for count, numbers in sums.items()})
    return sides[0], sides[1]


def read_summaries(name: str, paths: Sequence[str], folder: Path = Path()) -> list[Summary]:
    """Return the summaries of one run at several seeds.

    Raises:
        UsageError: There is none, one is given twice, one is missing, or they are of different runs.
        RecordError: One of them cannot be read.
    """
    if not paths:
        raise UsageError(f"'{name}' names no summary; expected the eval/RUN/summary.json of at least one seed.")
    if len(set(paths)) < len(paths):
        raise UsageError(f"'{name}' names a summary twice; every seed counts once.")
    found: list[Summary] = [load(folder / path, Summary) for path in paths]
    if len({(summary["run"], summary["split"]) for summary in found}) > 1:
        shown = ", ".join(f"{summary['run']} on {summary['split']}" for summary in found)
        raise UsageError(f"'{name}' names summaries of different policies ({shown}); expected one policy at several seeds.")
    for path, summary in zip(paths, found, strict=True):
        topics = len(summary["per_person"]["names"])
        if any(len(numbers) != topics for sums in summary["per_person"]["sums"].values() for numbers in sums.values()):
            raise RecordError(f"{path} does not count every one of its {topics} topics. Delete it and run `make eval` again.")
    return found


def work_off(job: Job, folder: Path = Path()) -> dict[str, Any]:
    """Return the output of a job.

    Raises:
        UsageError: The job, or a summary that it names, cannot be used.
        RecordError: A summary cannot be read.
    """
    references, resamples, seed = job.get("reference", {}), job.get("resamples", RESAMPLES), job.get("seed", 0)
    unknown = sorted(references.keys() - job["runs"].keys())
    if unknown:
        raise UsageError(f"the job's reference names {', '.join(unknown)}, which its runs do not; expected run: [summaries of what it is compared with].")
    if resamples < 1:
        raise UsageError(f"resamples = {resamples}: expected 1 or more.")
    result: dict[str, Any] = {}
    for name, paths in job["runs"].items():
        seeds = read_summaries(name, paths, folder)
        reference = read_summaries(f"reference of {name}", references[name], folder) if name in references else None
        if reference is not None:
            _check_pairs(name, seeds, reference)
        result[name] = combine(seeds, reference, resamples, seed)
    return {"format": 1, "resamples": resamples, "seed": seed, "runs": result}


def _check_pairs(name: str, seeds: Sequence[Summary], reference: Sequence[Summary]) -> None:
    if [summary["seed"] for summary in seeds] != [summary["seed"] for summary in reference]:
        ours, theirs = ([summary["seed"] for summary in side] for side in (seeds, reference))
        raise UsageError(f"'{name}' has the seeds {ours}, its reference {theirs}; expected the same, in the same order: differences are paired.")
    for summary, other in zip(seeds, reference, strict=True):
        if not _common(summary["per_person"]["names"], other["per_person"]["names"]):
            raise UsageError(f"'{name}' and its reference have no topic in common at seed {summary['seed']}; expected summaries of the same dataset.")


def main(argv: Sequence[str] | None = None) -> int:
    """Work off a job file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m confscoring.across", description="Figures of runs over several seeds.")
    parser.add_argument("--job", required=True, type=Path, help="JSON file: runs and what they are compared with")
    parser.add_argument("--output", required=True, type=Path, help="JSON file to write")
    given = parser.parse_args(argv)

    def run() -> int:
        write_json(given.output, work_off(load(given.job, Job), given.job.parent))
        return COMPLETE

    return tell_errors(run)


if __name__ == "__main__":
    raise SystemExit(main())
