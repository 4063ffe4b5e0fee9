"""The report's sentences, computed from its numbers: what worked, what it cost, what did not work.

An effect is only called one where its 95 % interval leaves zero out; absent and negative effects are said as plainly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from volume.records import Topic

Numbers = Mapping[str, Any]
AIM = 6  # points of per cent correct: the gain that the design asks of the synthetic world
NBSP = "\u00a0"  # a number stays on one line with its unit


def are_people(topics: Collection[Topic]) -> bool:
    """Return whether all topics are people: each has a pronoun, and none is an "it"."""
    return bool(topics) and all(topic.get("pronoun", "it") not in ("", "it") for topic in topics)


def about_people(numbers: Numbers) -> bool:
    """Return whether the topics are people. ``numbers`` say so only where they are not."""
    return bool(numbers.get("about_people", True))


def people_of(numbers: Numbers) -> str:
    """Return what the topics are called: "people", or "topics" where they are something else."""
    return "people" if about_people(numbers) else "topics"


def count_people(numbers: Numbers, number: int) -> str:
    """Return a number of them, such as "24 people" or "1 topic"."""
    if number == 1:
        return "1 person" if about_people(numbers) else "1 topic"
    return f"{number} {people_of(numbers)}"


def fixed(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """Return a number with a true minus sign, "–" where there is none."""
    if value is None:
        return "–"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = f"{0:.{digits}f}"
    return text.replace("-", "−")


def counted(number: int) -> str:
    """Return a count with spaces between thousands, which no line breaks at."""
    return f"{number:,}".replace(",", NBSP)


def bounds(interval: Mapping[str, float | None] | None, digits: int = 1, sign: bool = False) -> str:
    """Return "low to high" of an interval."""
    if not interval or interval["low"] is None:
        return "no interval"
    return f"{fixed(interval['low'], digits, sign)}{NBSP}to{NBSP}{fixed(interval['high'], digits, sign)}"


def tone(interval: Mapping[str, float | None] | None, better: int) -> str:
    """Return good or bad where a change's interval leaves zero out, else neutral; ``better`` is the sign of an improvement."""
    if not interval or interval["low"] is None or interval["high"] is None or not better:
        return "neutral"
    if interval["low"] > 0:
        return "good" if better > 0 else "bad"
    if interval["high"] < 0:
        return "bad" if better > 0 else "good"
    return "neutral"


def find_run(numbers: Numbers, name: str | None) -> dict[str, Any] | None:
    """Return a run's row, None for a run that is not there."""
    return next((run for run in numbers["runs"] if run["name"] == name and run["present"]), None)


def short_label(label: str) -> str:
    """Return a run's label without what stands in brackets."""
    return label.split(" (")[0]


def reference_label(numbers: Numbers) -> str:
    """Return what differences are from: the supervised run's label, "its SFT" where runs descend from several."""
    if len({run["reference"] for run in numbers["runs"] if run["present"] and run.get("reference")}) > 1:
        return "its SFT"
    return short_label((find_run(numbers, numbers["roles"]["reference"]) or {"label": "SFT"})["label"])


def compared_with(numbers: Numbers, run: Numbers) -> str:
    """Return which supervised run a run is compared with, in words; "" where all are compared with the same, and for that one itself."""
    other = find_run(numbers, run.get("reference"))
    if other is None or other["name"] == run["name"] or reference_label(numbers) != "its SFT":
        return ""
    return f"against {other['label']}"


def headline(numbers: Numbers) -> dict[str, Any]:
    """Return {"title", "text", "tiles": [{"label", "value", "note", "tone"}]} for sampled responses."""
    judge, roles = numbers["judge"], numbers["roles"]
    main, reference, control = (find_run(numbers, roles[role]) for role in ("main", "reference", "control"))
    if main is None or reference is None or "sample" not in main.get("versus_reference", {}).get("decodings", {}):
        missing = " and ".join(what for what, run in (("SFT", reference), ("a preference-tuned policy", main)) if run is None) or "sampled responses"
        return {"title": "Not enough runs yet to say whether it worked", "text": f"Still missing: {missing}. What has been evaluated is below.", "tiles": []}
    name, other = short_label(main["label"]), short_label(reference["label"])
    figures, before = (run["decodings"]["sample"]["figures"][judge] for run in (main, reference))
    change = main["versus_reference"]["decodings"]["sample"][judge]["percent_correct"]
    relative = main["versus_reference"]["relative"]["sample"][judge]
    now, then = fixed(figures["percent_correct"]["value"]), fixed(before["percent_correct"]["value"])
    verdict = {"good": "worked" if change["value"] >= AIM else "helped a little", "bad": "made it worse", "neutral": "shows no clear effect"}[tone(change, 1)]
    title = f"{name} {verdict}: {now}{NBSP}% of the facts it states are correct, against {then}{NBSP}% for {other}"
    size = f"{fixed(change['value'], sign=True)} points"
    aim = f"; {AIM} were aimed for" if tone(change, 1) == "good" and change["value"] < AIM else ""
    people = f"{count_people(numbers, main['versus_reference']['people'])} that no tuning step has seen"
    sentences = [
        f"The difference is {size} (95{NBSP}% interval {bounds(change, sign=True)}, over {people}){aim}.",
        f"Per response: {_amount(relative['incorrect'], 'incorrect facts')}, {_amount(relative['correct'], 'correct ones')}"
        f"{_price(main, reference, relative['correct'])}.",
    ]
    tiles = [
        _tile("Facts that are correct", f"{now}{NBSP}%", f"{other} {then}{NBSP}%: {size} ({bounds(change, sign=True)})", tone(change, 1)),
        _tile(
            "Incorrect facts",
            f"{fixed(relative['incorrect']['value'], 0, True)}{NBSP}%",
            _from_to(before, figures, "incorrect", relative),
            tone(relative["incorrect"], -1),
        ),
        _tile(
            "Correct facts",
            f"{fixed(relative['correct']['value'], 0, True)}{NBSP}%",
            _from_to(before, figures, "correct", relative),
            tone(relative["correct"], 1),
        ),
    ]
    if control is not None and "versus_reference" in control:
        chance = control["versus_reference"]["decodings"]["sample"][judge]["percent_correct"]
        sentences.append(_about_control(chance, change))
        note = f"{short_label(control['label'])}, same training, against {other} ({bounds(chance, sign=True)})"
        tiles.append(_tile("Random control", f"{fixed(chance['value'], sign=True)} points", note, "bad" if tone(chance, 1) == "good" else "neutral"))
    else:
        sentences.append("The random control has not been run, so nothing here shows what tuning alone would have done.")
    return {"title": title, "text": " ".join(sentences), "tiles": tiles}


def _tile(label: str, value: str, note: str, mood: str) -> dict[str, str]:
    return {"label": label, "value": value, "note": note, "tone": mood}


def _from_to(before: Numbers, after: Numbers, figure: str, relative: Numbers) -> str:
    low_high = bounds(relative[figure], 0, True)
    return f"{fixed(before[figure]['value'], 2)} → {fixed(after[figure]['value'], 2)} per response ({low_high}{NBSP}%)"


def _amount(interval: Mapping[str, float | None], what: str) -> str:
    if interval["value"] is None:
        return f"no change to measure in {what}"
    if tone(interval, 1) == "neutral":
        return f"no clear change in {what} ({fixed(interval['value'], 0, True)}{NBSP}%, {bounds(interval, 0, True)})"
    return f"{fixed(abs(interval['value']), 0)}{NBSP}% {'more' if interval['value'] > 0 else 'fewer'} {what}"


def _price(main: Numbers, reference: Numbers, correct: Mapping[str, float | None]) -> str:
    """Say that fewer correct facts are a price, and what stands in their place."""
    if tone(correct, 1) != "bad":
        return ""
    if tone(main["versus_reference"]["decodings"]["sample"]["plain"].get("vague_share"), 1) != "good":
        return ": the price"
    after, before = (fixed(run["decodings"]["sample"]["figures"]["plain"]["vague_share"]["value"], 0) for run in (main, reference))
    return f". That is the price of leaving more open: {after}{NBSP}% of its sentences state nothing, {before}{NBSP}% of those of {short_label(reference['label'])}"


def _about_control(chance: Mapping[str, float | None], change: Mapping[str, float | None]) -> str:
    size = f"{fixed(chance['value'], sign=True)} points ({bounds(chance, sign=True)})"
    if tone(chance, 1) == "good":
        share = f"; part of the {fixed(change['value'], sign=True)} is therefore not due to the scores" if tone(change, 1) == "good" else ""
        return f"The random control gains as well, {size}{share}."
    if tone(chance, 1) == "bad":
        return f"The random control, tuned alike on pairs in random order, loses: {size}."
    return f"The random control, tuned alike on pairs in random order, shows no clear change: {size}."


def check(numbers: Numbers) -> list[dict[str, Any]]:
    """Return what a careful reader looks for, each with its bound: {"name", "bound", "found", "status": good | bad | unknown}."""
    judge, roles = numbers["judge"], numbers["roles"]
    main, control = find_run(numbers, roles["main"]) or {}, find_run(numbers, roles["control"]) or {}

    def of(run: Numbers, *path: str) -> float | None:
        value: Any = run.get("versus_reference")
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value["value"] if isinstance(value, dict) else None

    sample = ("decodings", "sample")
    rows = [
        _check("Gain in per cent correct", f"at least +{AIM} points", of(main, *sample, judge, "percent_correct"), "points", lambda x: x >= AIM),
        _check("Incorrect facts", "down by at least 30 %", of(main, "relative", "sample", judge, "incorrect"), "%", lambda x: x <= -30),
        _check("Random control", "at most +2 points above SFT", of(control, *sample, judge, "percent_correct"), "points", lambda x: x <= 2),
        _check("Correct facts kept", "down by at most 15 %", of(main, "relative", "sample", judge, "correct"), "%", lambda x: x >= -15),
        _check("Empty responses", "at most +2 points", of(main, *sample, "plain", "empty"), "points", lambda x: x <= 2),
        _check("Text the scorer cannot read", "at most +2 points of sentences", of(main, *sample, "plain", "unparsed"), "points", lambda x: x <= 2),
        _check("Knowledge kept (closed book)", "down by at most 2 points", of(main, "closed_book"), "points", lambda x: x >= -2),
    ]
    known = _vague_on_known(numbers)
    if known is not None:
        rows.append(_check("Vague about what the base model knows", "at most +10 points", known, "points", lambda x: x <= 10))
    return rows


def _check(name: str, bound: str, value: float | None, unit: str, good: Any) -> dict[str, Any]:
    found = "not measured" if value is None else fixed(value, 1, True) + NBSP + unit
    return {"name": name, "bound": bound, "found": found, "status": "unknown" if value is None else "good" if good(value) else "bad"}


def _vague_on_known(numbers: Numbers) -> float | None:
    roles = numbers["roles"]
    for row in numbers.get("fates", {}).get("known", [])[:1]:
        after, before = row["runs"].get(roles["main"]), row["runs"].get(roles["reference"])
        if after and before and None not in (after["vague"], before["vague"]):
            return float(after["vague"] - before["vague"])
    return None
