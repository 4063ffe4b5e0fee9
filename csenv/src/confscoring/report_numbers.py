"""The numbers of the report: every run beside SFT, and where its facts went.

Everything on the page is drawn from what these functions return, which is also what report/summary.json holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confscoring.judge import World
from confscoring.measures import CLOSED_BOOK, JUDGED, PLAIN, Sums, columns, of_people
from confscoring.statistics import difference, draw_people, relative_change
from volume.policy_steps import supervised_run
from volume.settings import Definition

Summary = dict[str, Any]

# How often documents state a fact, by the smallest number; bounds that triple, as exposure does from tier to tier.
_EXPOSURE = {"0 to 9 times": 0, "10 to 29 times": 10, "30 to 99 times": 30, "100 to 299 times": 100, "300 times or more": 300}
_KNOWN = ("known to the base model", "not known to it")


def choose_runs(definition: Definition, present: Sequence[str]) -> dict[str, str | None]:
    """Return the runs that the report is about: ``main`` (the first tuned one that looks at truthfulness), ``reference`` (the supervised
    run that it descends from), ``base`` (the model that it comes from, as it is) and ``control`` (of the same descent where there is one).
    """
    runs = {name: run for name, run in definition.runs.items() if name in present}
    tuned = [name for name, run in runs.items() if run.kind == "dpo" and run.reward != "random"]
    main = next((name for name in tuned if runs[name].reward.startswith("factscore")), tuned[0] if tuned else None)
    own = supervised_run(definition, main) if main else next((name for name, run in runs.items() if run.kind == "sft"), "")

    def nearest(names: Sequence[str]) -> str | None:
        return next((name for name in names if supervised_run(definition, name) == own), names[0] if names else None)

    return {
        "base": nearest([name for name, run in runs.items() if run.kind == "base"]),
        "reference": own if own in runs else None,
        "main": main,
        "control": nearest([name for name, run in runs.items() if run.kind == "dpo" and run.reward == "random"]),
    }


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the policies that no other beats on both axes, by incorrect facts.

    Args:
        points: {policy: (incorrect facts, correct facts)}. One that is equal in both to another is beaten by neither.
    """

    def beaten(name: str) -> bool:
        x, y = points[name]
        return any(a <= x and b >= y and (a, b) != (x, y) for a, b in points.values())

    return sorted((name for name in points if not beaten(name)), key=lambda name: points[name])


def compare(summary: Summary, reference: Summary, resamples: int, seed: int) -> dict[str, Any]:
    """Return a run's paired differences from the reference, over the people that both have.

    Returns:
        {decoding: {judge or "plain": {figure: interval}}, "relative": {decoding: {judge: {figure: per cent}}}, "closed_book"}.
    """
    names = [name for name in summary["per_person"]["names"] if name in set(reference["per_person"]["names"])]
    draws = draw_people(len(names), resamples, seed)
    result: dict[str, Any] = {"people": len(names), "decodings": {}, "relative": {}}
    for decoding in summary["decodings"]:
        if decoding not in reference["decodings"] or not names:
            continue
        ours, theirs = (_of_names(other, other["per_person"]["sums"][decoding], names) for other in (summary, reference))
        differences: dict[str, Any] = {}
        relative: dict[str, Any] = {}
        for judge, figures in (*((judge, JUDGED) for judge in [*summary["judges"], *summary.get("second_judges", ())]), ("plain", PLAIN)):
            pairs = {name: (columns(judge, figure, ours), columns(judge, figure, theirs), figure) for name, figure in figures.items()}
            differences[judge] = {n: difference(a, b, draws, figure.scale) for n, (a, b, figure) in pairs.items() if a and b}
            relative[judge] = {n: relative_change(a, b, draws) for n, (a, b, _) in pairs.items() if a and b and n in ("correct", "incorrect", "facts", "words")}
        result["decodings"][decoding], result["relative"][decoding] = differences, relative
    books = [_closed_book_columns(other, names) for other in (summary, reference)]
    if names and books[0] and books[1]:
        result["closed_book"] = difference(books[0], books[1], draws, CLOSED_BOOK.scale)
    return result


def fate_of_facts(world: World, summaries: dict[str, Summary], base: Summary | None, decoding: str = "sample") -> dict[str, list[dict[str, Any]]]:
    """Return where the facts that could have been stated went, run by run.

    A slot is one attribute of one person in one response. Per 100 slots: correct, incorrect and vague statements.

    Returns:
        {grouping: [{"group", "slots", "runs": {run: {"correct", "incorrect", "vague"}}}]}, the groupings being the
        person's exposure tier, the fact's own exposure, and whether the base model answers the question closed-book.
    """

    def exposure(person: str, attribute: str) -> str:
        times = world.people[person]["exposure"].get(attribute, 0)
        return next(label for label, low in reversed(_EXPOSURE.items()) if times >= low)

    groupings: dict[str, tuple[list[str], Callable[[str, str], str | None]]] = {
        "tier": (world.tiers, lambda person, _: world.tiers[world.people[person]["tier"]]),
        "exposure": (list(_EXPOSURE), exposure),
    }
    book = (base or {}).get("per_person", {}).get("closed_book")
    if base is not None and book is not None:
        place = {name: index for index, name in enumerate(base["per_person"]["names"])}
        answers = {1: _KNOWN[0], 0: _KNOWN[1]}
        groupings["known"] = (list(_KNOWN), lambda person, a: answers.get(book[a][place[person]]) if person in place else None)
    result: dict[str, list[dict[str, Any]]] = {}
    for grouping, (labels, group_of) in groupings.items():
        rows = []
        for label in labels:
            fates = {run: _fates(summary, group_of, label, decoding, world.attributes) for run, summary in summaries.items()}
            slots = max((fate.pop("slots") for fate in fates.values()), default=0)
            if slots:
                note = f"each fact stated {mean_exposure(world, label):.0f} times" if grouping == "tier" else ""
                rows.append({"group": label, "note": note, "slots": slots, "runs": fates})
        result[grouping] = rows
    return result


def by_attribute(world: World, summaries: dict[str, Summary], decoding: str = "sample") -> list[dict[str, Any]]:
    """Return the same fates by attribute."""
    rows = []
    for attribute in world.attributes:
        fates = {run: _fates(summary, lambda _, a: a, attribute, decoding, world.attributes) for run, summary in summaries.items()}
        rows.append({"group": attribute.replace("_", " "), "slots": max((fate.pop("slots") for fate in fates.values()), default=0), "runs": fates})
    return rows


def _fates(summary: Summary, group_of: Callable[[str, str], str | None], group: str, decoding: str, attributes: Sequence[str]) -> dict[str, Any]:
    counts = summary["per_person"]
    totals = {"correct": 0, "incorrect": 0, "vague": 0}
    slots = 0
    for index, person in enumerate(counts["names"]):
        for attribute in attributes:
            if group_of(person, attribute) == group:
                slots += counts["sums"][decoding]["responses"][index]
                for status in totals:
                    totals[status] += counts["cells"][decoding][attribute][status][index]
    claims = totals["correct"] + totals["incorrect"]
    shares: dict[str, Any] = {status: round(100 * number / slots, 6) if slots else None for status, number in totals.items()}
    return {**shares, "percent_correct": round(100 * totals["correct"] / claims, 6) if claims else None, "slots": slots}


def mean_exposure(world: World, tier: str) -> float:
    """Return how often the pretraining text states a fact of a tier's people, on average."""
    times = [person["exposure"].get(a, 0) for person in world.people.values() if world.tiers[person["tier"]] == tier for a in world.attributes]
    return sum(times) / len(times) if times else 0.0


def _of_names(summary: Summary, sums: Sums, names: Sequence[str]) -> Sums:
    place = {name: index for index, name in enumerate(summary["per_person"]["names"])}
    return of_people(sums, [place[name] for name in names])


def _closed_book_columns(summary: Summary, names: Sequence[str]) -> tuple[list[int], list[int]] | None:
    book = summary["per_person"].get("closed_book")
    if book is None:
        return None
    rows = list(_of_names(summary, book, names).values())
    return [sum(row[i] == 1 for row in rows) for i in range(len(names))], [sum(row[i] >= 0 for row in rows) for i in range(len(names))]
