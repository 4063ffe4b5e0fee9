"""The page's section of samples: the same topics before and after tuning, each fact coloured by its verdict, its evidence beside it.

No script: what a fact rests on shows on hover, on keyboard focus and on a tap, and all of it stands in a list below that opens
and that print opens by itself. Colour never stands alone: each verdict has its sign and its own underline.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confscoring.report_words import about_people, find_run, fixed, short_label

Numbers = Mapping[str, Any]
_SHOWN = 3
# status: (sign, in words)
_SIGNS = {
    "correct": ("✓", "correct"), "incorrect": ("✗", "incorrect"), "irrelevant": ("↷", "supported, but beside the question"),
    "unparsed": ("unread", "could not be read, counts as incorrect"), "off_topic": ("other person", "about somebody else, counts as incorrect"),
}  # fmt: skip
_VERIFIED = {"correct": ("✓", "supported"), "incorrect": ("✗", "not supported")}
_NO_PEOPLE = {"off_topic": ("other topic", "about something else, counts as incorrect")}


def samples_section(numbers: Numbers) -> tuple[str, str, str] | None:
    """Return the section's title, lead and content as HTML; None where no policy has examples."""
    roles, examples = numbers["roles"], numbers["examples"]
    runs = [run for run in (find_run(numbers, roles[role]) for role in ("reference", "main")) if run]
    topics = [marked["topic"] for marked in examples.get(roles["reference"] or roles["main"] or "", [])]
    if len(topics) > _SHOWN:
        topics = [topics[0], topics[len(topics) // 2], topics[-1]]
    if not runs or not topics:
        return None
    known = numbers["invented_world"]
    blocks = []
    for place, topic in enumerate(topics):
        sides: list[str] = []
        tier = ""
        for run in runs:
            marked = next((row for row in examples[run["name"]] if row["topic"] == topic), None)
            if marked is not None:
                tier = f" <small>{html.escape(marked['tier'])} by exposure</small>" if marked["tier"] else ""
                sides.append(_side(short_label(run["label"]), marked, f"s{place}-{len(sides)}", numbers))
        blocks.append(f'<article><h3>{html.escape(topic)}{tier}</h3><div class="bios">{"".join(sides)}</div></article>')
    number = "" if len(topics) == 1 else f"{len(topics)} "
    chosen = "the first person of the highest, middle and lowest exposure tier" if known else f"the first {number}topic{'s' if number else ''} of the split"
    by = "by the world’s truth" if known else "by the verifier"
    statuses = {piece["status"] for run in runs for marked in examples[run["name"]] for piece in [*marked["pieces"], *marked["facts"]]}
    lead = (f"First sampled response about {chosen}: chosen by rule, not by result. Each fact is judged {by}; point at one, tap it or step to it "
            "for what its verdict rests on.")  # fmt: skip
    return "Before and after, side by side", lead, _legend(statuses, numbers) + "".join(blocks)


def _legend(statuses: Iterable[str], numbers: Numbers) -> str:
    found, signs = set(statuses), _signs(numbers)
    items = [f'<li><span class="{status}">{words}<sup>{sign}</sup></span></li>' for status, (sign, words) in signs.items() if status in found and words != sign]
    items += ['<li><span class="vague">leaves it open</span></li>'] if "vague" in found else []
    items += ['<li><span class="repeat">says it again, or nothing</span></li>'] if "repeat" in found else []
    items += ["<li>unmarked: no fact of its own was taken from it</li>"] if "no_claim" in found else []
    return f'<ul class="legend verdicts">{"".join(items)}</ul>'


def _signs(numbers: Numbers) -> dict[str, tuple[str, str]]:
    return {**_SIGNS, **({} if numbers["invented_world"] else _VERIFIED), **({} if about_people(numbers) else _NO_PEOPLE)}


def _side(label: str, marked: Numbers, key: str, numbers: Numbers) -> str:
    facts: Sequence[Numbers] = marked["facts"]
    shown = {piece["fact"] for piece in marked["pieces"] if "fact" in piece}
    pieces = [("" if piece.get("glued") else " ") + _piece(piece, facts, f"{key}-{place}", numbers) for place, piece in enumerate(marked["pieces"])]
    written = "".join(pieces).strip()
    chips = [_chip(fact, f"{key}-f{place}", numbers) for place, fact in enumerate(facts) if place not in shown]
    also = f'<p class="chips"><small>Facts that the text words otherwise:</small> {" ".join(chips)}</p>' if chips else ""
    return f'<div class="bio"><h4>{html.escape(label)}</h4><p>{written or "(empty)"}</p>{also}{_list(facts, numbers)}</div>'


def _piece(piece: Numbers, facts: Sequence[Numbers], key: str, numbers: Numbers) -> str:
    content = html.escape(piece["text"])
    if "fact" not in piece:
        return content if piece["status"] == "no_claim" else f'<span class="{html.escape(piece["status"])}">{content}</span>'
    fact = facts[piece["fact"]]
    truth = f" <em>({html.escape(fact['truth'])})</em>" if "truth" in fact else ""
    return _marked(content, fact, key, numbers) + truth


def _chip(fact: Numbers, key: str, numbers: Numbers) -> str:
    return _marked(html.escape(fact["atom"]), fact, key, numbers)


def _marked(content: str, fact: Numbers, key: str, numbers: Numbers) -> str:
    sign = _signs(numbers)[fact["status"]][0]
    tip = f'<span class="tip" role="tooltip" id="{key}">{"<br>".join(_about(fact, numbers))}</span>'
    return f'<span class="fact {fact["status"]}" tabindex="0" aria-describedby="{key}">{content}<sup>{sign}</sup>{tip}</span>'


def _list(facts: Sequence[Numbers], numbers: Numbers) -> str:
    """Return every fact with its verdict and evidence, folded up; "" where there is none."""
    if not facts:
        return ""
    signs = _signs(numbers)
    found = [fact["status"] for fact in facts]
    counts = " ".join(f"{found.count(status)}&nbsp;{sign}" for status, (sign, _) in signs.items() if status in found)
    items = "".join(f'<li class="{fact["status"]}-item">{" · ".join(_about(fact, numbers))}</li>' for fact in facts)
    return f'<details class="facts"><summary>Facts and evidence: {counts}</summary><ol>{items}</ol></details>'


def _about(fact: Numbers, numbers: Numbers) -> list[str]:
    """Return in lines, as HTML, what a fact is, how it was judged and on what."""
    sign, words = _signs(numbers)[fact["status"]]
    lines = [f"<b>{html.escape(fact['atom'])}</b>"]
    verdict = f"{sign} {words}" if sign not in ("unread", "other person", "other topic") else words
    if "truth" in fact:
        verdict += f": in truth {html.escape(fact['truth'])}"
    lines.append(verdict)
    if fact["verdict"]:
        names = (("p_true", "probability of true"), ("npm", "of the nonparametric model"))
        figures = [f"{name} {fixed(fact[field], 2)}" for field, name in names if fact.get(field) is not None]
        told = f"Verifier: {fact['verdict']}" + (f" ({', '.join(figures)})" if figures else "")
        if numbers["invented_world"] or figures or fact["verdict"] == "undecided":
            lines.append(told)
        if "evidence" in fact:
            lines.append(f"Evidence: “{html.escape(fact['evidence'])}”")
        elif "nearest" in fact:
            lines.append(f"Nearest sentence in the passages: “{html.escape(fact['nearest'])}”")
        else:
            lines.append("Evidence: no sentence named" if fact["verdict"] == "supported" else "Evidence: no sentence found that says so")
    if "question" in fact:
        lines.append(f"Asked back: {html.escape(fact['question'])}" + (f" ({html.escape(fact['claimed'])})" if "claimed" in fact else ""))
    return lines
