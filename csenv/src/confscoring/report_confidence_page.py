"""The page's section on confidence and rewards: from the score of a claim to the pairs that training sees."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from confscoring.report_confidence_figures import histogram, reliability_diagram
from confscoring.report_tables import cell, pairs_table, table
from confscoring.report_words import NBSP, about_people, bounds, counted, fixed, people_of

Numbers = Mapping[str, Any]
# (its name in the table, the axis of its diagram, whether it is a probability)
_METRICS = {
    "neg_ent": ("negative entropy of the answers", "exp(neg_ent)", False),
    "max_conf": ("share of the most frequent answer", "confidence", True),
    "exp_conf": ("chance that two answers agree", "confidence", True),
    "samp_conf": ("share of the answers that agree with the claim", "confidence", True),
}
_KINDS = {"unparsed": "could not be read", "off_topic": "are about somebody else", "not_in_the_world": "are about nobody in the world"}


def confidence_section(numbers: Numbers) -> str:
    """Return the section's content; "" where there are no rewards."""
    if not numbers["pairs"]:
        return ""
    ranks = ("How well does a reward rank the responses to a prompt? r is its correlation with the share of facts that are true, among the "
             "responses to one prompt: only what differs within a prompt can teach anything. ") if numbers["reward_truth"] else ""  # fmt: skip
    pairs = f'<p class="note caption">{ranks}Two responses with the same reward are a tie, and make no pair.</p>'
    pairs += "".join(pairs_table(numbers, split) for split in numbers["pairs"])
    return _confidence(numbers) + pairs + _values(numbers) + _agreement(numbers)


def _confidence(numbers: Numbers) -> str:
    found = numbers["confidence"]
    if found is None:
        return '<p class="note">Not shown: confidence in single claims. This volume has no rewards/confidences_train_*.jsonl; <code>make rewards</code> writes it.</p>'
    against = "the world’s truth" if found["against"] == "truth" else "the verifier’s verdict (this dataset has no known truth)"
    kinds = _KINDS if about_people(numbers) else {**_KINDS, "off_topic": "are about something else"}
    left_out = " and ".join(f"{counted(number)} that {kinds.get(kind, html.escape(kind))}" for kind, number in found["left_out"].items())
    text = (f"<p>{_finding(found)}</p><p class=\"note\">{counted(found['claims'])} claims of the training responses, against {against}"
            + (f"; left out: {left_out}. " if left_out else ". ")
            + "AUROC is the chance that a correct claim has the higher confidence than an incorrect one: 0.5 is a coin, 1 is perfect. "
            "Within prompts: only pairs of claims from responses to one prompt, as preferences are.</p>")  # fmt: skip
    panels = "".join(_panel(name, found["metrics"][name]) for name in _METRICS)
    note = (f"Of the claims with a given confidence, how many are correct? Lines: 95 % intervals over {people_of(numbers)}. Bars: claims in each tenth. On the dashed "
            "diagonal confidence is what it promises; ECE, the expected calibration error, is the mean distance from it. neg_ent is no probability: it is drawn as "
            "exp(neg_ent), one over the effective number of answers, without diagonal or ECE.")  # fmt: skip
    return f'{text}{_auroc_table(found, people_of(numbers))}<h3 class="caption">Reliability</h3><p class="note">{note}</p><div class="grid panels">{panels}</div>'


def _finding(found: Numbers) -> str:
    """Return the answer in a sentence: which score ranks the claims of a prompt best, and which worst."""
    within = {name: found["metrics"][name]["auroc_within_prompts"] for name in _METRICS if found["metrics"][name]["auroc_within_prompts"]["value"] is not None}
    if not within:
        return "Confidence in single claims cannot be judged: no prompt has both correct and incorrect claims that were asked about."
    best, worst = max(within, key=lambda name: within[name]["value"]), min(within, key=lambda name: within[name]["value"])
    first = (f"Of two claims from responses to one prompt, one correct and one not, <code>{best}</code> is higher for the correct one in "
             f"{fixed(100 * within[best]['value'], 0)}{NBSP}% of the cases (ties count half)")  # fmt: skip
    return f"{first}, <code>{worst}</code> in {fixed(100 * within[worst]['value'], 0)}{NBSP}%." if worst != best else f"{first}."


def _auroc_table(found: Numbers, people: str) -> str:
    """Return AUROC, a row for each score: over all claims, within prompts, and tier by tier."""
    tiers, rows = found["tiers"], []
    for name, (what, _, _) in _METRICS.items():
        metric = found["metrics"][name]
        shown = [metric["auroc"], metric["auroc_within_prompts"], *(metric["auroc_by_tier"][tier["tier"]] for tier in tiers)]
        cells = "".join(cell(fixed(value["value"], 2), bounds(value, 2) if value["value"] is not None else "") for value in shown)
        rows.append(("", f'<th scope="row">{_code(name)} <small>{what}</small></th>{cells}'))
    pairs = max(found["metrics"][name]["pairs_within_prompts"] for name in _METRICS)
    rows.append(("", _row("claims", counted(found["claims"]), f"{counted(pairs)} pairs", *(counted(tier["claims"]) for tier in tiers))))
    rows.append(("", _row("correct, %", fixed(found["percent_correct"]), "", *(fixed(tier["percent_correct"]) for tier in tiers))))
    if tiers:
        rows.append(("", _row("each fact stated, times", "", "", *(fixed(tier["exposure"], 0) for tier in tiers))))
    head = ["Confidence", "all<br>claims", "within<br>prompts", *(html.escape(tier["tier"]) for tier in tiers)]
    without = [f"{name} {counted(found['metrics'][name]['without'])}" for name in _METRICS if found["metrics"][name]["without"]]
    missing = f'<p class="note">Claims without a score, left out of its figures: {", ".join(without)}.</p>' if without else ""
    return table("AUROC of confidence" + (", overall and by exposure tier" if tiers else ""), f"small: 95 % interval over {people}", head, rows) + missing


def _row(title: str, *values: str) -> str:
    return f'<th scope="row">{title}</th>' + "".join(cell(value) for value in values)


def _panel(name: str, metric: Numbers) -> str:
    _, axis, probability = _METRICS[name]
    drawn = reliability_diagram(metric["reliability"], name, axis, probability, f"reliability-{name}")
    told = f"ECE {fixed(metric['calibration_error'], 3)}" if probability else "no probability"
    return f"<figure><h3>{_code(name)} <small>{told}</small></h3>{drawn}</figure>"


def _values(numbers: Numbers) -> str:
    """Return the histograms of all rewards, as small multiples."""
    if not numbers["reward_values"]:
        return ""
    panels = []
    for row in numbers["reward_values"]:
        none = f"; {fixed(100 * row['without_reward'] / row['responses'])}{NBSP}% have none" if row["without_reward"] else ""
        panels.append(
            f"<figure><h3>{_code(row['reward'])}</h3>{histogram(row, 'values-' + row['reward'])}"
            f"<figcaption>{counted(row['distinct'])} distinct values{none}</figcaption></figure>"
        )
    note = ("Responses by the value of each reward, in 20 equal steps from its lowest to its highest. The fewer distinct values, the more ties; "
            "the scales differ, only the order counts.")  # fmt: skip
    return f'<h3 class="caption">Values of the rewards</h3><p class="note">{note}</p><div class="grid small">{"".join(panels)}</div>'


def _agreement(numbers: Numbers) -> str:
    """Return the table of which rewards order pairs the same way: the lower triangle, colour and number."""
    found = numbers["reward_agreement"]
    if not found or len(found["rewards"]) < 2:
        return ""
    names = found["rewards"]
    rows = []
    for i, name in enumerate(names):
        cells = f'<th scope="row">{i + 1} {_code(name)}</th>' + "".join(_shade(found["same"][i][j], found["pairs"][i][j]) for j in range(i))
        own = f'<td class="own">–<small>{_short(found["pairs"][i][i])}</small></td>'
        rows.append(("", cells + own + '<td class="own"></td>' * (len(names) - i - 1)))
    head = ["Reward", *(f'<abbr title="{html.escape(name)}">{i + 1}</abbr>' for i, name in enumerate(names))]
    note = ("Of the pairs of responses to one prompt that both rewards order, how many per cent they order the same way; small: how many pairs that is, "
            "and on the diagonal how many the reward orders by itself. Blue agrees, orange disagrees, and the deeper the more.")  # fmt: skip
    note += _control(names, found["same"])
    return f'<div class="heat">{table("Agreement between rewards", "per cent", head, rows)}</div><p class="note">{note}</p>'


def _control(names: list[str], same: list[list[float | None]]) -> str:
    if "random" not in names:
        return ""
    place = names.index("random")
    values = [value for other, value in enumerate(same[place]) if other != place and value is not None]
    return f" The control, random, agrees with the others on {fixed(min(values), 0)} to {fixed(max(values), 0)}{NBSP}%; a coin would on 50{NBSP}%." if values else ""


def _shade(share: float | None, pairs: int) -> str:
    """Return a cell whose colour is as deep as the share is far from 50 %."""
    if share is None:
        return '<td class="own">–<small>0</small></td>'
    mood, deep = ("agree" if share >= 50 else "differ"), abs(share - 50) / 50
    return f'<td class="{mood}" style="--deep:{0.5 * deep:.2f}">{fixed(share, 0)}<small>{_short(pairs)}</small></td>'


def _short(number: int) -> str:
    """Return a count in at most four characters."""
    return str(number) if number < 1000 else f"{number / 1000:.1f}k" if number < 9950 else f"{number / 1000:.0f}k"


def _code(name: str) -> str:
    return f"<code>{html.escape(name).replace('_', '_<wbr>')}</code>"
