"""The report's tables. Every figure has its 95 % interval below it; wide tables scroll inside their own box."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from confscoring.report_words import NBSP, about_people, bounds, compared_with, counted, fixed, reference_label, short_label, tone

Numbers = Mapping[str, Any]
_DECODINGS = {"greedy": "Greedy decoding"}


def table(caption: str, note: str, head: Sequence[str], rows: Sequence[tuple[str, str]], words: Sequence[int] = ()) -> str:
    """Return a table in a box that scrolls by itself.

    Args:
        caption: Its name.
        note: Small print beside the name.
        head: Column titles, as HTML.
        rows: (class, cells as HTML) of each row.
        words: Columns that hold words, set to the left.
    """
    titles = "".join(f'<th scope="col"{" class=words" if index in words else ""}>{title}</th>' for index, title in enumerate(head))
    body = "".join(f'<tr class="{class_}">{cells}</tr>' if class_ else f"<tr>{cells}</tr>" for class_, cells in rows)
    name = html.escape(caption)
    return (
        f'<h3 class="caption">{name} <small>{html.escape(note)}</small></h3><div class="scroll" tabindex="0" role="region" aria-label="{name}"><table>'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def cell(value: str, small: str = "", mood: str = "") -> str:
    """Return a cell with a small second line."""
    class_ = f' class="{mood}"' if mood in ("good", "bad") else ""
    return f"<td{class_}>{html.escape(value)}" + (f"<small>{html.escape(small)}</small>" if small else "") + "</td>"


def row_title(label: str, note: str = "") -> str:
    """Return a row's head: a run's label, what stands in brackets small, and a note below."""
    main, _, rest = label.partition(" (")
    small = f" <small>({html.escape(rest)}</small>" if rest else ""
    return f'<th scope="row">{html.escape(main)}{small}' + (f"<small>{html.escape(note)}</small>" if note else "") + "</th>"


def run_title(numbers: Numbers, run: Numbers) -> str:
    """Return a row's head that says, where runs descend from several supervised ones, which of them this one is compared with."""
    return row_title(run["label"], compared_with(numbers, run))


def decoding_title(numbers: Numbers, decoding: str) -> str:
    each = "person" if about_people(numbers) else "question"
    return _DECODINGS.get(decoding, f"Sampled at temperature {numbers['temperature']:g}, {numbers['responses_per_question']} per {each}")


def decodings(numbers: Numbers) -> list[str]:
    """Return the decodings that any run has, sampled first."""
    found = {decoding: None for run in numbers["runs"] if run["present"] for decoding in run["decodings"]}
    return list(found)


def main_table(numbers: Numbers, decoding: str) -> str:
    """Return per cent correct and facts of every run, and the paired differences from SFT."""
    judge, rows = numbers["judge"], []
    other = reference_label(numbers)
    for run in numbers["runs"]:
        if not run["present"] or decoding not in run["decodings"]:
            continue
        figures = run["decodings"][decoding]["figures"][judge]
        change = run.get("versus_reference", {})
        differences = change.get("decodings", {}).get(decoding, {}).get(judge, {})
        relative = change.get("relative", {}).get(decoding, {}).get(judge, {})
        cells = run_title(numbers, run)
        cells += cell(fixed(figures["percent_correct"]["value"]), bounds(figures["percent_correct"]))
        cells += change_cell(differences.get("percent_correct"), 1)
        cells += cell(fixed(figures["percent_correct_macro"]["value"]), bounds(figures["percent_correct_macro"]))
        for name, better in (("correct", 1), ("incorrect", -1)):
            cells += cell(fixed(figures[name]["value"], 2), bounds(figures[name], 2))
            cells += change_cell(relative.get(name), better, 0, " %")
        rows.append((row_class(numbers, run), cells))
    head = [
        "Policy",
        "% correct<br>(all facts)",
        f"difference<br>from {html.escape(other)}, points",
        "% correct,<br>mean over<br>responses",
        "correct facts<br>per response",
        f"change<br>from {html.escape(other)}",
        "incorrect facts<br>per response",
        f"change<br>from {html.escape(other)}",
    ]
    return table(decoding_title(numbers, decoding), "small: 95 % interval", head, rows)


def cost_table(numbers: Numbers, decoding: str) -> str:
    """Return what a run's responses are like: length, emptiness, vagueness, unread text; and its closed-book accuracy."""
    rows = []
    columns = (("facts", 2), ("words", 1), ("vague_share", 1), ("empty", 1), ("unparsed", 1), ("off_topic", 2), ("repeats", 2))
    better = {"empty": -1, "unparsed": -1, "off_topic": -1, "repeats": -1}
    book = decoding == "sample" and any("closed_book" in run for run in numbers["runs"])
    for run in numbers["runs"]:
        if not run["present"] or decoding not in run["decodings"]:
            continue
        figures = run["decodings"][decoding]["figures"]["plain"]
        change = run.get("versus_reference", {})
        differences = change.get("decodings", {}).get(decoding, {}).get("plain", {})
        cells = run_title(numbers, run)
        for name, digits in columns:
            if name == "off_topic" and book:
                accuracy = run.get("closed_book", {}).get("accuracy")
                cells += cell(fixed(accuracy["value"]) if accuracy else "–", bounds(accuracy) if accuracy else "") + change_cell(change.get("closed_book"), 1)
            cells += cell(fixed(figures[name]["value"], digits), bounds(figures[name], digits), tone(differences.get(name), better.get(name, 0)))
        rows.append((row_class(numbers, run), cells))
    head = ["Policy", "facts", "words", "vague, % of<br>sentences", "empty, % of<br>responses", "unread, % of<br>sentences"]
    head += ["closed-book<br>accuracy, %", f"its difference<br>from {html.escape(reference_label(numbers))}"] if book else []
    head += [f"about some-<br>{'body' if about_people(numbers) else 'thing'} else", "repeated<br>facts"]
    note = f"per response unless said; coloured where the difference from {reference_label(numbers)} leaves zero out"
    return table(decoding_title(numbers, decoding), note, head, rows)


def verifier_table(numbers: Numbers) -> str:
    """Return the verifier against the truth, run by run."""
    rows = []
    for run in numbers["runs"]:
        found = run["decodings"].get("sample", {}).get("verifier_vs_truth") if run["present"] else None
        if found is None:
            continue
        claims, shares = found["claims"], found["rates"]
        total = claims["supported_true"] + claims["supported_false"] + claims["unsupported_true"] + claims["unsupported_false"]
        judged = run["decodings"]["sample"]["figures"]
        cells = row_title(run["label"]) + cell(counted(total))
        cells += "".join(cell(fixed(shares[name])) for name in ("agreement", "precision", "recall"))
        cells += cell(str(claims["unsupported_true_absent"])) + cell(str(claims["unsupported_true_present"])) + cell(str(claims["supported_false"]))
        cells += cell(fixed(judged["truth"]["percent_correct"]["value"])) + cell(fixed(judged["verifier"]["percent_correct"]["value"]))
        rows.append((row_class(numbers, run), cells))
    head = [
        "Policy",
        "claims",
        "agreement, %",
        "precision, %",
        "recall, %",
        "true, but<br>not in the<br>knowledge<br>base",
        "true,<br>in it, but<br>turned down",
        "false, but<br>supported",
        "% correct<br>by truth",
        "% correct<br>by verifier",
    ]
    return table("Verifier against the truth", "claims of sampled responses", head, rows)


def confusion(numbers: Numbers, run: Numbers) -> str:
    """Return one run's two-by-two table: verdicts against the truth, in claims and in per cent of them."""
    claims = run["decodings"]["sample"]["verifier_vs_truth"]["claims"]
    total = sum(claims[f"{verdict}_{truth}"] for verdict in ("supported", "unsupported") for truth in ("true", "false"))
    rows = []
    for verdict, right in (("supported", "true"), ("unsupported", "false")):
        cells = f'<th scope="row">{verdict}</th>'
        for truth in ("true", "false"):
            count = claims[f"{verdict}_{truth}"]
            share = fixed(100 * count / total) if total else "–"
            cells += cell(counted(count), f"{share} %: {'agrees' if truth == right else 'differs'}", "good" if truth == right else "bad")
        rows.append(("", cells))
    return table(short_label(run["label"]), "claims", ["the verifier<br>says", "in truth<br>true", "in truth<br>false"], rows)


def pairs_table(numbers: Numbers, split: str) -> str:
    """Return pair accounting of one split, and beside it how each reward ranks by the truth."""
    ranked = {row["reward"]: row for row in numbers["reward_truth"]} if split == "train" else {}
    used = {run["reward"] for run in numbers["runs"] if run["reward"]}
    rows = []
    for row in numbers["pairs"][split]:
        cells = (
            f'<th scope="row"><code>{html.escape(row["reward"]).replace("_", "_<wbr>")}</code>'
            + ("" if row["reward"] in used else " <small>no run uses it</small>")
            + "</th>"
        )
        if ranked:
            r = ranked.get(row["reward"], {}).get("r")
            bar = f'<span class="track"><span class="bar{" neg" if r < 0 else ""}" style="width:{abs(r) * 100:.0f}px"></span></span>' if r is not None else ""
            cells += f"<td>{fixed(r, 2)}{bar}</td>"
        cells += cell(counted(row["pairs"])) + cell(counted(row["ties"]), "" if row["ties_percent"] is None else f"{fixed(row['ties_percent'])}{NBSP}%")
        cells += "".join(cell(counted(row[name])) for name in ("without_reward", "prompts", "responses"))
        cells += cell(fixed(row["mean_gap"], 3)) + cell(fixed(row["chosen_longer"])) + cell(fixed(row["words_chosen_minus_rejected"], 1, True))
        rows.append(("", cells))
    head = [
        "Reward",
        *(["r with the<br>truth, within<br>prompts"] if ranked else []),
        "pairs",
        "ties,<br>no pair",
        "without<br>a reward",
        "prompts",
        "responses",
        "mean gap",
        "chosen is<br>longer, %",
        "words, chosen<br>− rejected",
    ]
    return table({"train": "Training pairs", "dpoval": "Held-out pairs"}.get(split, split), "counted from the rewards file", head, rows)


def change_cell(interval: Numbers | None, better: int, digits: int = 1, unit: str = "") -> str:
    """Return a cell with a change and its interval, coloured where that leaves zero out."""
    if not interval or interval["value"] is None:
        return cell("")
    return cell(fixed(interval["value"], digits, True) + unit, bounds(interval, digits, True), tone(interval, better))


def row_class(numbers: Numbers, run: Numbers) -> str:
    """Return the class of a run's row: the two that the page is about stand out."""
    return "key" if run["name"] in (numbers["roles"]["main"], numbers["roles"]["reference"]) else ""
