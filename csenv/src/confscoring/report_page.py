"""The report as one page: the answer first, then the evidence, what it cost, and what it does not show."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from confscoring.report_calibration import LEAD as CALIBRATION_LEAD
from confscoring.report_calibration import calibration_content
from confscoring.report_choice import choice_section
from confscoring.report_confidence_page import confidence_section
from confscoring.report_figures import fate_bars, reward_curves, scatter
from confscoring.report_judges import judges_table, opinions_table
from confscoring.report_samples import samples_section
from confscoring.report_style import STYLE
from confscoring.report_tables import confusion, cost_table, decodings, main_table, verifier_table
from confscoring.report_words import NBSP, about_people, count_people, find_run, fixed, people_of, reference_label, short_label
from confscoring.report_work import provenance_table, work_table

Numbers = Mapping[str, Any]
_PAPER = "https://arxiv.org/abs/2311.08401"
_LEGEND = ('<ul class="legend"><li><i class="f-good"></i>correct</li><li><i class="f-bad"></i>incorrect</li>'
           '<li><i class="f-vague"></i>vague: “… is unrecorded”</li><li>rest: left out</li></ul>')  # fmt: skip


def render(numbers: Numbers) -> str:
    """Return the page."""
    head = numbers["headline"]
    tiles = "".join(
        f'<div class="tile {tile["tone"]}">{html.escape(tile["label"])}<b>{html.escape(tile["value"])}</b><small>{html.escape(tile["note"])}</small></div>'
        for tile in head["tiles"]
    )
    opening = (
        f'<p class="kicker">FactTune on <strong>{html.escape(numbers["dataset"])}</strong>, seed {numbers["seed"]}: {html.escape(numbers["description"])}</p>'
        f'<h1>{html.escape(head["title"])}</h1><p class="lead">{html.escape(head["text"])}</p>' + (f'<div class="tiles">{tiles}</div>' if tiles else "")
    )
    parts = [
        opening,
        _picture(numbers),
        _results(numbers),
        _cost(numbers),
        _fates(numbers),
        _samples(numbers),
        _verifier(numbers),
        _calibration(numbers),
        _rewards(numbers),
        _training(numbers),
        _work(numbers),
        _limits(numbers),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>FactTune on {html.escape(numbers['dataset'])}</title><style>{STYLE}</style></head><body><main>\n"
        + "\n".join(part for part in parts if part) + f"\n{_provenance(numbers)}</main></body></html>\n"
    )  # fmt: skip


def _section(title: str, lead: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2><p>{lead}</p>{content}</section>"


def _picture(numbers: Numbers) -> str:
    if not any(run["present"] and "sample" in run["decodings"] for run in numbers["runs"]):
        return ""
    caption = ("Sampled responses. Up is more that is true, left is less that is false; a policy that only falls silent moves to the lower left corner. "
               f"Thin crosses: 95 % intervals over {people_of(numbers)}. Arrows start at {html.escape(reference_label(numbers))}."
               + (" Solid steps: the Pareto front; what lies on it no other policy beats in both." if len(numbers["front"]) > 1 else ""))  # fmt: skip
    drawn = scatter(numbers, 660, 500, "only-wide") + scatter(numbers, 358, 400, "only-narrow")
    marks = "".join(
        f'<li class="{row["status"]}"><span class="mark">{_MARKS[row["status"]]}</span>'
        f"<span>{html.escape(row['name'])}: <strong>{html.escape(row['found'])}</strong>"
        f"<small>{html.escape(row['bound'])}</small></span></li>"
        for row in numbers["checks"]
    )
    checks = f'<div><h3>What a careful reader checks</h3><p class="note">{_subject(numbers)}</p><ul class="checks">{marks}</ul></div>'
    return f'<section><h2>Correct against incorrect facts</h2><div class="split"><figure>{drawn}<figcaption>{caption}</figcaption></figure>{checks}</div></section>'


_MARKS = {"good": "✓ within", "bad": "✗ outside", "unknown": "– unknown"}


def _subject(numbers: Numbers) -> str:
    main = find_run(numbers, numbers["roles"]["main"])
    if main is None:
        return "No tuned policy yet."
    bounds = "The first three bounds are the design’s own test; the others mark where a cost starts to hurt."
    other = short_label((find_run(numbers, numbers["roles"]["reference"]) or {"label": "SFT"})["label"])
    return f"{html.escape(short_label(main['label']))} against {html.escape(other)}, sampled responses. {bounds}"


def _results(numbers: Numbers) -> str:
    judged = "judged by the world’s truth" if numbers["judge"] == "truth" else "judged by the verifier (this dataset has no known truth)"
    people = people_of(numbers)
    lead = (f"{count_people(numbers, numbers['people'])} of the split “{html.escape(numbers['split'])}”, {judged}. Text that could not be read, or that is "
            f"about {'somebody' if about_people(numbers) else 'something'} else, counts as incorrect. "
            f"Intervals: percentile bootstrap over {people}, {numbers['resamples']} resamples; differences are paired.")  # fmt: skip
    absent = [html.escape(run["label"]) for run in numbers["runs"] if not run["present"] and not run["extra"]]
    missing = f'<p class="note">Not run: {", ".join(absent)}.</p>' if absent else ""
    extra = sum(run["extra"] and not run["present"] for run in numbers["runs"])
    missing += f'<p class="note">{extra} further {"policy is" if extra == 1 else "policies are"} defined and not made: <code>RUNS=all</code>.</p>' if extra else ""
    short = [f"{html.escape(run['label'])} {len(run['missing'])}" for run in numbers["runs"] if run["present"] and run["missing"]]
    missing += f'<p class="note">{people.capitalize()} without scored responses, left out: {", ".join(short)}.</p>' if short else ""
    return _section("Results", lead, "".join(main_table(numbers, decoding) for decoding in decodings(numbers)) + missing)


def _cost(numbers: Numbers) -> str:
    lead = (
        "Fewer falsehoods are easy to have by saying less. So: how much is still said, how much is left open, "
        "and whether the model still knows what it knew (closed book: asked directly)."
    )
    return _section("What it cost", lead, "".join(cost_table(numbers, decoding) for decoding in decodings(numbers)))


def _fates(numbers: Numbers) -> str:
    fates, roles = numbers.get("fates"), numbers["roles"]
    shown = [(run["name"], short_label(run["label"])) for run in (find_run(numbers, roles[role]) for role in ("reference", "main")) if run]
    shown = [(name, label) for name, label in shown if fates and all(name in row["runs"] for rows in fates.values() for row in rows)]
    if not fates or not shown:
        return ""
    titles = (("known", "By what the base model knows", "Asked closed-book, does the base model give the right answer?"),
              ("tier", "By how often the person is mentioned", "Exposure tiers of people in the pretraining text."),
              ("exposure", "By how often the fact is mentioned", "Times that the pretraining text states this very fact."),
              ("attribute", "By attribute", ""))  # fmt: skip
    figures = "".join(
        f"<figure><h3>{title}</h3>{fate_bars(fates[key], shown, title, f'fate-{key}')}<figcaption>{note}</figcaption></figure>"
        for key, title, note in titles
        if fates.get(key)
    )
    lead = ("Each person has eight facts that a response could state. Of 100 such chances: how many became a correct statement, an incorrect one, a vague one. "
            "Right of each bar: per cent correct of what was stated.").replace("eight", str(len(fates["attribute"])))  # fmt: skip
    return _section("Where the falsehoods went", lead, f'{_LEGEND}<div class="flow">{figures}</div>')


def _samples(numbers: Numbers) -> str:
    found = samples_section(numbers)
    return _section(*found) if found else ""


def _verifier(numbers: Numbers) -> str:
    opinions = opinions_table(numbers)
    second = ("What a policy gains by the verifier that rewarded it and not by another is learnt from that verifier’s mistakes: over-optimisation."
              if opinions else "")  # fmt: skip
    if not any(run["present"] and "verifier_vs_truth" in run["decodings"].get("sample", {}) for run in numbers["runs"]):
        return _section("How far the verifier can be trusted", f"Its verdicts are what FactTune-FS is trained on. {second}", opinions) if opinions else ""
    lead = ("The verifier sees retrieved passages, not the truth, and its verdicts are what FactTune-FS is trained on. Precision: of the "
            "claims that it supports, how many are true. "
            f"Recall: of the true claims, how many it supports; it cannot confirm facts that the knowledge base lacks. {second}").rstrip()  # fmt: skip
    runs = [run for run in (find_run(numbers, numbers["roles"][role]) for role in ("reference", "main")) if run and "sample" in run["decodings"]]
    pairs = "".join(f"<div>{confusion(numbers, run)}</div>" for run in runs)
    return _section("How far the verifier can be trusted", lead, f'<div class="bios">{pairs}</div>{verifier_table(numbers)}{judges_table(numbers)}{opinions}')


def _calibration(numbers: Numbers) -> str:
    content = calibration_content(numbers)
    return _section("Does it still know what it knows?", CALIBRATION_LEAD, content) if content else ""


def _rewards(numbers: Numbers) -> str:
    lead = ("A reward turns the responses to a prompt into preference pairs; those without a verifier are means of a confidence in each claim. So: "
            "does confidence tell correct claims from incorrect ones, and what do the rewards make of it?")  # fmt: skip
    content = confidence_section(numbers)
    return _section("Confidence and rewards", lead, content) if content else ""


def _training(numbers: Numbers) -> str:
    tuned = [(run, numbers["curves"][run["name"]].get("dpo", [])) for run in numbers["runs"]]
    tuned = [(run, steps) for run, steps in tuned if any("chosen_reward" in step for step in steps)]
    notes = [_fitted(run["label"], steps) for run in numbers["runs"] for steps in [numbers["curves"][run["name"]].get("sft", [])] if steps]
    choices = choice_section(numbers)
    if not tuned:
        return _section("Training", " ".join(notes), choices) if notes or choices else ""
    values = [step[f"{name}_reward"] for _, steps in tuned for step in steps for name in ("chosen", "rejected") if f"{name}_reward" in step]
    low, high = min(*values, 0.0), max(*values, 0.0)
    pad = 0.06 * (high - low or 1.0)
    panels = []
    for run, steps in tuned:
        trained, held = [step for step in steps if "split" not in step], [step for step in steps if "split" in step]
        told = f"loss {fixed(trained[0]['loss'], 3)} → {fixed(trained[-1]['loss'], 3)}" if trained else ""
        told += f"; held-out pairs ranked right: {fixed(100 * held[-1]['accuracy'], 0)}{NBSP}%" if held and "accuracy" in held[-1] else ""
        chosen = numbers.get("choices", {}).get(run["name"], {}).get("step")
        drawn = reward_curves(steps, low - pad, high + pad, run["label"], f"curve-{run['name']}", chosen)
        panels.append(f"<figure><h3>{html.escape(run['label'])}</h3>{drawn}<figcaption>{told}</figcaption></figure>")
    lead = ("Implicit rewards, β · log(policy / SFT), of the chosen and of the rejected responses, apart: their margin can grow while both "
            "fall. Lines: training pairs; "
            "circles: held-out pairs. All panels share one scale. " + ("Dotted: the step whose policy was taken. " if choices else "") + " ".join(notes))  # fmt: skip
    return _section("Training", lead, f'<div class="grid curves">{"".join(panels)}</div>{choices}')


def _fitted(label: str, steps: list[Numbers]) -> str:
    losses = [step["loss"] for step in steps if "split" not in step and "loss" in step]
    return f"{html.escape(label)}: loss {fixed(losses[0], 3)} → {fixed(losses[-1], 3)} over {steps[-1]['step']} steps." if losses else ""


def _work(numbers: Numbers) -> str:
    lead = "What each policy took, counted: the same on every machine. And what all of it rests on."
    return _section("Work and provenance", lead, work_table(numbers) + f'<h3 class="caption">Provenance</h3>{provenance_table(numbers)}')


def _limits(numbers: Numbers) -> str:
    items = [f"One world, one set of trained weights: the intervals are over {people_of(numbers)}, not over seeds. Run other seeds before believing a small difference.",
             "The scores that tuned a policy also grade it where the verifier is the judge; the truth, where there is one, is the fairer judge."]  # fmt: skip
    if numbers["invented_world"]:
        items = [
            "This shows the mechanism, not truthfulness about the real world. The people are invented and the vocabulary is closed.",
            "Expect most of a gain to be abstention: the model learns to leave open what it does not know. Some is sharpening, none is new knowledge.",
            "Never compare these percentages with those of Llama-2, or of the paper: model, facts and grammar are others.",
            *items,
        ]
    return f'<section><h2>What this does not show</h2><ul class="plain">{"".join(f"<li>{item}</li>" for item in items)}</ul></section>'


def _provenance(numbers: Numbers) -> str:
    rows = "".join(
        f'<tr><th scope="row"><code>{html.escape(path)}</code></th><td class="words"><code>{digest[:16]}</code></td></tr>'
        for path, digest in numbers["inputs"].items()
    )
    return (
        f'<footer><p>Method: <a href="{_PAPER}">Fine-tuning Language Models for Factuality</a> (Tian, Mitchell, Yao, Manning, Finn, ICLR 2024). '
        f"Dataset {html.escape(numbers['dataset'])}, "
        f"seed {numbers['seed']}. Every number on this page is in summary.json beside it; commit, locks, hardware and times are in the manifests.</p>"
        '<details><summary>SHA-256 of the files that this page was made from</summary><div class="scroll" tabindex="0" role="region" aria-label="Input files">'
        f"<table><tbody>{rows}</tbody></table></div></details></footer>"
    )
