"""What the policies took, in numbers that are the same on every machine: steps, texts, tokens, facts.

Times, money and hardware are not on the page: its bytes are compared from machine to machine (`make verify`). They are in the
manifests, and in cost.html beside the report, which is part of nothing that is compared.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from confscoring.report_tables import cell, row_class, row_title, table
from confscoring.report_words import counted

Numbers = Mapping[str, Any]
COST_PAGE = "../cost.html"  # seen from report/index.html


def count_work(summary: Mapping[str, Any] | None, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int | None]:
    """Return what training and evaluation of one policy came to.

    Args:
        summary: Its evaluation; None where it has none.
        curves: {phase: logged steps} of its training.
    """
    last = [steps[-1] for steps in curves.values() if steps]
    sums = list(summary["per_person"]["sums"].values()) if summary else []
    lengths = [part["tokens"] for part in sums if "tokens" in part]
    return {
        "steps": last[-1]["step"] if last else None,
        "examples": last[-1].get("examples") if last else None,
        "responses": sum(sum(part["responses"]) for part in sums) if sums else None,
        "tokens": sum(map(sum, lengths)) if lengths and len(lengths) == len(sums) else None,
        "facts": sum(sum(part["facts"]) for part in sums) if sums else None,
    }


def work_table(numbers: Numbers) -> str:
    """Return one row per policy, and where to find times and money."""
    rows = []
    for run in numbers["runs"]:
        if run["present"]:
            counts = (run["work"][name] for name in ("steps", "examples", "responses", "tokens", "facts"))
            rows.append((row_class(numbers, run), row_title(run["label"]) + "".join(cell("–" if count is None else counted(count)) for count in counts)))
    head = ["Policy", "training<br>steps", "texts or pairs<br>trained on", "evaluated<br>responses", "tokens<br>sampled", "facts<br>judged"]
    note = (f'<p class="note caption">Times, calls, money, hardware and versions differ from machine to machine, this page must not: they are in '
            f'<a href="{COST_PAGE}">cost.html</a> in the folder above this page, and step by step in <code>manifests/</code>.</p>')  # fmt: skip
    return table("Work", "training, then evaluation on the split", head, rows) + note


def provenance_table(numbers: Numbers) -> str:
    """Return what the results rest on: models, judges, decoders, splits, seed."""
    about = [("Dataset", f"{numbers['dataset']}, split “{numbers['split']}”, {numbers['people']} topic{'' if numbers['people'] == 1 else 's'}, seed {numbers['seed']}")]
    for name, model in numbers["models"].items():
        about.append((f"Model “{name}”", (model["source"] or model["path"]) + (f" at {model['revision']}" if model["revision"] else "")))
    about += [(f"Judge “{name}”" if name else "Verifier", words) for name, words in numbers["verifiers"].items() if words]
    about += [(f"Decoder “{name}”", words) for name, words in numbers["decoders"].items()]
    rows = "".join(f'<tr><th scope="row">{html.escape(name)}</th><td class="words">{html.escape(words)}</td></tr>' for name, words in about)
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Provenance"><table class="wrap"><tbody>{rows}</tbody></table></div>'
