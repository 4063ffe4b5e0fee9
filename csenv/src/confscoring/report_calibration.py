"""Whether a policy's confidence in its own claims still means something after tuning: SFT's reliability beside the tuned one's.

Not the section on rewards, which asks the base model about the training responses: here each policy is asked back about what it
says itself.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from confscoring.report_confidence_figures import reliability_diagram
from confscoring.report_tables import cell, row_class, table
from confscoring.report_words import NBSP, bounds, counted, fixed, short_label

Numbers = Mapping[str, Any]
_COLUMNS = (("percent_correct", 1), ("confidence", 1), ("calibration_error", 3), ("auroc", 3), ("brier", 3))
_HEAD = ["Policy", "claims", "correct, %", "mean<br>confidence, %", "ECE", "AUROC", "Brier score"]
LEAD = ("A policy is asked back about the claims of its greedy responses; its confidence in a claim is the share of its sampled answers that agree with it. "
        "Of the claims with confidence 0.7, are 70 % correct? ECE is the mean distance from that, AUROC the chance that a correct claim has the "
        "higher confidence than an incorrect one.")  # fmt: skip


def calibration_content(numbers: Numbers) -> str:
    """Return the section's content; "" where no policy was asked back."""
    judge = numbers["judge"]
    asked = [run for run in numbers["runs"] if run["present"] and judge in run.get("calibration", {})]
    rows, panels = [], []
    for run in asked:
        found, label = run["calibration"][judge], short_label(run["label"])
        cells = f'<th scope="row">{html.escape(label)}</th>' + cell(counted(found["claims"]), f"{found['without']} not asked" if found["without"] else "")
        cells += "".join(cell(fixed(found[name]["value"], digits), bounds(found[name], digits)) for name, digits in _COLUMNS)
        rows.append((row_class(numbers, run), cells))
        drawn = reliability_diagram(found["reliability"], f"{label}, own claims", "confidence", True, f"calibration-{run['name']}")
        panels.append(f"<figure><h3>{html.escape(label)} <small>ECE{NBSP}{fixed(found['calibration_error']['value'], 3)}</small></h3>{drawn}</figure>")
    if not asked:
        return ""
    return table("Confidence in its own claims", "small: 95 % interval", _HEAD, rows) + f'<div class="grid panels">{"".join(panels)}</div>'
