"""Second opinions: further verifiers beside the one whose scores reward, against the truth where it is known, else against each other.

A policy that is tuned on a verifier learns its mistakes too. What it gains by that verifier and not by another is over-optimisation.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from confscoring.report_tables import cell, change_cell, row_class, row_title, table
from confscoring.report_words import bounds, fixed, reference_label

Numbers = Mapping[str, Any]


def judges_table(numbers: Numbers) -> str:
    """Return every verifier against the truth, run by run: the one that rewarded, and those that only judge; "" where there is one alone."""
    rows = []
    for run in numbers["runs"]:
        found = run["decodings"].get("sample", {}).get("verifier_vs_truth") if run["present"] else None
        others = {name: judged["sample"] for name, judged in run.get("judges_vs_truth", {}).items() if "sample" in judged}
        if found is None or not others:
            continue
        for name, judged in {"": found, **others}.items():
            claims = judged["claims"]
            kind = f"judge {name}" if name else "its scores reward"
            cells = f'{row_title(run["label"])}<td class="words">{html.escape(numbers["verifiers"][name])}<small>{html.escape(kind)}</small></td>'
            cells += "".join(cell(fixed(judged["rates"][share])) for share in ("agreement", "precision", "recall"))
            cells += cell(str(claims["unsupported_true"])) + cell(str(claims["supported_false"]))
            rows.append((row_class(numbers, run), cells))
    head = ["Policy", "verifier", "agreement, %", "precision, %", "recall, %", "true, but<br>turned down", "false, but<br>supported"]
    return table("Verifiers side by side", "the same claims of sampled responses", head, rows, words=(1,)) if rows else ""


def opinions_table(numbers: Numbers, decoding: str = "sample") -> str:
    """Return per cent correct by every verifier, and what each run gains by each; "" where no second one has judged."""
    others = second_judges(numbers, decoding)
    if not others:
        return ""
    rows = []
    for run in numbers["runs"]:
        if not run["present"] or decoding not in run["decodings"]:
            continue
        figures, cells = run["decodings"][decoding]["figures"], row_title(run["label"])
        changes = run.get("versus_reference", {}).get("decodings", {}).get(decoding, {})
        for judge in ("verifier", *others):
            share = figures.get(judge, {}).get("percent_correct")
            cells += cell(fixed(share["value"]), bounds(share)) if share else cell("–")
            cells += change_cell(changes.get(judge, {}).get("percent_correct"), 1)
        rows.append((row_class(numbers, run), cells))
    head = ["Policy"]
    for name in ("", *others):
        about = html.escape(numbers["verifiers"].get(name, name))
        kind = f"judge {html.escape(name)}" if name else "rewards"
        head += [f"% correct by<br>{about}<br>({kind})", f"difference from<br>{html.escape(reference_label(numbers))}, points"]
    return table("Per cent correct by each verifier", "the same facts of sampled responses; small: 95 % interval", head, rows)


def second_judges(numbers: Numbers, decoding: str = "sample") -> list[str]:
    """Return the verifiers that only judge and have figures in some evaluation, in the definition's order."""
    return [
        name
        for name in numbers["verifiers"]
        if name and any(run["present"] and name in run["decodings"].get(decoding, {}).get("figures", {}) for run in numbers["runs"])
    ]
