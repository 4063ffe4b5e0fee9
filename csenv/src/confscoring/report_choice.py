"""The page's tables of the policies that training kept along the way: their figures, and which one was taken."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from confscoring.report_tables import cell, row_title, table
from confscoring.report_words import about_people, bounds, count_people, fixed, people_of, short_label

Numbers = Mapping[str, Any]
_COLUMNS = (("percent_correct", 1), ("correct", 2), ("incorrect", 2), ("empty", 1))


def choice_section(numbers: Numbers) -> str:
    """Return what stands below the training curves; "" where no run kept candidates."""
    choices = numbers.get("choices", {})
    if not choices:
        return ""
    first = next(iter(choices.values()))
    keep, more = first["rule"]["keep_correct"], first["rule"]["more_empty"]
    which = "whom" if about_people(numbers) else "which"
    apart = f"{which} the results above are not about" if first["people"] == 1 else f"none of {which} the results above are about"
    text = (f"Each run keeps policies along the way. On {count_people(numbers, first['people'])} of the split “{html.escape(first['split'])}”, {apart}, "
            f"sampled responses are judged by the verifier, and the policy with the highest per cent correct is taken, of those that keep at least {100 * keep:g} % of "
            f"SFT’s correct facts and leave at most {more:g} points more responses empty. All other sections show the policy that was taken.")  # fmt: skip
    failed = [html.escape(short_label(choice["label"])) for choice in choices.values() if not choice["qualified"]]
    warning = f"<p><strong>No policy met the rule: {', '.join(failed)}. There the last one was taken, as without a choice.</strong></p>" if failed else ""
    return f'<p class="note caption">{text}</p>{warning}' + "".join(choice_table(choice, people_of(numbers)) for choice in choices.values())


def choice_table(choice: Numbers, people: str = "people") -> str:
    """Return a run's candidates, SFT above them, one row each; ``people`` is what the topics are called."""
    rows = [("", row_title(short_label(choice["supervised_label"])) + _figures(choice["supervised"]) + '<td class="words"></td>')]
    for policy in choice["candidates"]:
        taken = policy["candidate"] == choice["chosen"]
        outcome = ["taken" if choice["qualified"] else "taken: the last"] if taken else []
        outcome += policy["why_not"] or ([] if taken else ["meets the rule"])
        if not choice["qualified"] and policy["candidate"] in choice["frontier"]:
            outcome.append("on the frontier")
        cells = f'<th scope="row">step {policy["step"]}</th>{_figures(policy)}<td class="words">{html.escape("; ".join(outcome))}</td>'
        rows.append(("key" if taken else "", cells))
    head = ["Policy", "% correct", "correct facts<br>per response", "incorrect facts<br>per response", "empty, % of<br>responses", "outcome"]
    missing = f"; {people} without scored responses, left out: {len(choice['missing'])}" if choice["missing"] else ""
    return table(f"Candidates of {short_label(choice['label'])}", f"by the verifier; small: 95 % interval{missing}", head, rows, words=(5,))


def _figures(policy: Numbers) -> str:
    figures = policy["figures"]
    return "".join(cell(fixed(figures[name]["value"], digits), bounds(figures[name], digits) if figures[name]["value"] is not None else "") for name, digits in _COLUMNS)
