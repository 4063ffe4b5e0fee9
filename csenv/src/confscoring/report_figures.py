"""The report's drawings: the scatter of correct against incorrect facts, where facts went, and training curves.

Each is a function from numbers to one SVG. On the page the scatter is drawn twice, wide and narrow, so that its type keeps its
size; it is a file of its own as well.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from confscoring.report_style import ALONE
from confscoring.report_svg import Box, alone, figure, line, number, place_labels, tag, text, tick_label, ticks
from confscoring.report_words import fixed, short_label

Numbers = Mapping[str, Any]
STATUSES = (("correct", "f-good", "on-good"), ("incorrect", "f-bad", "on-good"), ("vague", "f-vague", "m"))
_ISO = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def colour(numbers: Numbers, run: str) -> str:
    """Return a run's colour: by its place in the definition."""
    names = [row["name"] for row in numbers["runs"]]
    return f"var(--r{names.index(run) % 14})"


def scatter(numbers: Numbers, width: int, height: int, class_: str, decoding: str = "sample") -> str:
    """Return correct against incorrect facts per response, one mark per run, an arrow from SFT to each tuned one."""
    judge, roles = numbers["judge"], numbers["roles"]
    runs = [run for run in numbers["runs"] if run["present"] and decoding in run["decodings"]]
    found = {run["name"]: run["decodings"][decoding]["figures"][judge] for run in runs}
    high_x = 1.06 * max([figures["incorrect"]["high"] or figures["incorrect"]["value"] or 0 for figures in found.values()] + [0.1])
    high_y = 1.06 * max([figures["correct"]["high"] or figures["correct"]["value"] or 0 for figures in found.values()] + [0.1])
    left, right, top, bottom = 40, width - 40, 42, height - 44

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / high_x, bottom - (bottom - top) * y / high_y

    parts: list[str] = []
    labels: list[Box] = []
    free = float(left)
    for share in reversed(_ISO):
        slope = share / (1 - share)
        end_x, end_y = (high_x, slope * high_x) if slope * high_x <= high_y else (high_y / slope, high_y)
        x, y = at(end_x, end_y)
        parts.append(line(*at(0, 0), x, y, class_="iso"))
        on_top = end_y == high_y
        if not on_top or x > free + 26:  # steep lines end close together
            free = x + 12
            x, y = (x, y - 6) if on_top else (x + 5, y + 4)
            parts.append(text(x, y, f"{share * 100:.0f} %", class_="m s", text_anchor="middle" if on_top else "start"))
            labels.append(Box(x - 14 if on_top else x, y - 10, x + (14 if on_top else 28), y + 3))
    for value in ticks(high_x, wanted=5):
        x, y = at(value, 0)
        parts += [line(x, y, x, y + 4, class_="rule"), text(x, y + 17, tick_label(value), class_="m s", text_anchor="middle")]
    for value in ticks(high_y, wanted=5):
        x, y = at(0, value)
        parts += [line(x - 4, y, x, y, class_="rule"), text(x - 8, y + 4, tick_label(value), class_="m s", text_anchor="end")]
    parts += [line(left, bottom, right, bottom, class_="rule"), line(left, top, left, bottom, class_="rule")]
    parts.append(text(right, bottom + 36, "incorrect facts per response →", class_="m", text_anchor="end"))
    parts.append(text(0, top - 28, "↑ correct facts per response", class_="m"))
    parts.append(text(width, top - 28, "dashed: per cent correct", class_="m s", text_anchor="end"))

    places = {name: at(figures["incorrect"]["value"] or 0, figures["correct"]["value"] or 0) for name, figures in found.items()}
    for run in runs:
        name, figures = run["name"], found[run["name"]]
        x, y = places[name]
        if figures["correct"]["low"] is not None and figures["incorrect"]["low"] is not None:
            (x1, y1), (x2, y2) = at(figures["incorrect"]["low"], figures["correct"]["low"]), at(figures["incorrect"]["high"], figures["correct"]["high"])
            style = {"stroke": colour(numbers, name), "stroke_width": 1.2, "opacity": "0.45"}
            parts += [line(x1, y, x2, y, **style), line(x, y1, x, y2, **style)]
            labels += [Box(x1, y - 2, x2, y + 2), Box(x - 2, y2, x + 2, y1)]
    front = [places[name] for name in numbers["front"] if name in places]
    if len(front) > 1:
        corners = [front[0], *(corner for before, after in zip(front, front[1:], strict=False) for corner in ((after[0], before[1]), after))]
        corners = [(front[0][0], float(bottom)), *corners, (float(right), front[-1][1])]
        parts.append(tag("polyline", points=" ".join(f"{number(x)},{number(y)}" for x, y in corners), class_="front"))
        labels += [box for before, after in zip(corners, corners[1:], strict=False) for box in _along(before, after)]
    for run in runs:
        start = places.get(run["reference"])
        if start and run["kind"] in ("dpo", "decode"):
            parts.append(_arrow(start, places[run["name"]], colour(numbers, run["name"]), 2.4 if run["name"] == roles["main"] else 1.2))
            labels += _along(start, places[run["name"]])
    parts += [_mark(run, numbers, *places[run["name"]]) for run in runs]
    texts = [short_label(run["label"]) for run in runs]
    area = Box(left + 2, top - 4, width - 2, bottom - 2)
    for run, label, (x, y, anchor) in zip(runs, texts, place_labels([places[run["name"]] for run in runs], texts, area, labels), strict=True):
        weight = " b" if run["name"] in (roles["main"], roles["reference"]) else ""
        parts.append(text(x, y, label, class_="halo" + weight, text_anchor=anchor, style=f"fill:{colour(numbers, run['name'])}"))
    told = "; ".join(
        f"{label}: {fixed(figures['correct']['value'], 2)} correct, {fixed(figures['incorrect']['value'], 2)} incorrect"
        for label, figures in zip(texts, found.values(), strict=True)
    )
    told += ". Dashed lines join points of equal per cent correct."
    if len(front) > 1:
        told += f" On the Pareto front: {', '.join(short_label(run['label']) for run in runs if run['name'] in numbers['front'])}."
    return figure(width, height, "Correct against incorrect facts per response", told, "".join(parts), f"scatter-{class_}", class_)


def scatter_file(numbers: Numbers) -> str:
    """Return the scatter of sampled responses as the content of an SVG file."""
    return alone(scatter(numbers, 660, 440, "alone"), 660, 440, ALONE)


def _mark(run: Numbers, numbers: Numbers, x: float, y: float) -> str:
    shade = colour(numbers, run["name"])
    if run["name"] == numbers["roles"]["main"]:
        return tag("circle", cx=x, cy=y, r=7, fill=shade)
    if run["kind"] == "sft":
        return tag("circle", cx=x, cy=y, r=6, fill=shade)
    if run["kind"] == "base":
        return tag("circle", cx=x, cy=y, r=5, fill="var(--paper)", stroke=shade, stroke_width=2)
    if run["kind"] == "decode":
        return tag("polygon", points=" ".join(f"{number(x + dx)},{number(y + dy)}" for dx, dy in ((0, -6.5), (6, 4.5), (-6, 4.5))), fill=shade)
    if run["reward"] == "random":
        return tag("path", d=f"M{number(x - 5)} {number(y - 5)}l10 10m0 -10l-10 10", stroke=shade, stroke_width=2.4, fill="none")
    return tag("rect", x=x - 4.6, y=y - 4.6, width=9.2, height=9.2, transform=f"rotate(45 {number(x)} {number(y)})", fill=shade)


def _arrow(start: tuple[float, float], end: tuple[float, float], shade: str, width: float) -> str:
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    if length < 24:
        return ""
    ux, uy = dx / length, dy / length
    tip = (end[0] - 9 * ux, end[1] - 9 * uy)
    wings = [(tip[0] - 8 * ux + side * 4 * uy, tip[1] - 8 * uy - side * 4 * ux) for side in (1, -1)]
    head = " ".join(f"{number(x)},{number(y)}" for x, y in (tip, *wings))
    shaft = line(start[0] + 9 * ux, start[1] + 9 * uy, tip[0] - 7 * ux, tip[1] - 7 * uy, stroke=shade, stroke_width=width, opacity="0.8")
    return shaft + tag("polygon", points=head, fill=shade)


def _along(start: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    """Return small boxes along a line, for labels to keep off it."""
    steps = [(start[0] + (end[0] - start[0]) * part / 40, start[1] + (end[1] - start[1]) * part / 40) for part in range(41)]
    return [Box(x - 3, y - 3, x + 3, y + 3) for x, y in steps]


def fate_bars(rows: Sequence[Numbers], runs: Sequence[tuple[str, str]], title: str, key: str) -> str:
    """Return, group by group, one stacked bar per run: statements per 100 that could be made.

    Args:
        rows: From ``fate_of_facts``.
        runs: (name, label) of the runs, in the order of the bars.
        title: What the groups are.
        key: Unique on the page.
    """
    width, left, right = 360, 92, 306
    full = max([100.0, *(sum(row["runs"][run][status] or 0 for status, _, _ in STATUSES) for row in rows for run, _ in runs)])
    parts, told, y = [], [], 4.0
    for row in rows:
        y += 14
        note = f'<tspan class="m s" font-weight="400" dx="7">{html.escape(row["note"])}</tspan>' if row.get("note") else ""
        parts.append(tag("text", html.escape(row["group"]) + note, x=0, y=y, class_="b"))
        y += 7
        for run, label in runs:
            fate = row["runs"][run]
            x = float(left)
            parts.append(text(0, y + 13, label, class_="m s"))
            for status, fill, ink in STATUSES:
                share = fate[status] or 0.0
                wide = (right - left) * share / full
                parts.append(tag("rect", x=x, y=y, width=wide, height=18, class_=fill, stroke_width=0.6))
                if wide >= 22:
                    parts.append(text(x + wide / 2, y + 13, fixed(share, 0), class_=f"s {ink}", text_anchor="middle"))
                x += wide
            parts.append(tag("rect", x=float(left), y=y, width=float(right - left) * 100 / full, height=18, fill="none", class_="rule"))
            parts.append(text(right + 6, y + 13, f"{fixed(fate['percent_correct'], 0)} %", class_="s b"))
            told.append(
                f"{row['group']}, {label}: {fixed(fate['correct'], 0)} correct, {fixed(fate['incorrect'], 0)} incorrect, {fixed(fate['vague'], 0)} vague"
            )
            y += 21
        y += 6
    return figure(width, y, title, "Of 100 statements that could be made. " + "; ".join(told) + ".", "".join(parts), key)


def reward_curves(steps: Sequence[Numbers], low: float, high: float, label: str, key: str, chosen: int | None = None) -> str:
    """Return a DPO run's implicit rewards of chosen and rejected responses, apart, against the pairs seen.

    Args:
        steps: Logged lines of its metrics; those with ``split`` are of held-out pairs.
        low, high: Bounds of the axis, the same for every run.
        label: The run.
        key: Unique on the page.
        chosen: The step whose policy was taken, where there was a choice.
    """
    width, height, left, right, top, bottom = 320, 190, 40, 254, 10, 160
    train = [step for step in steps if "split" not in step and "chosen_reward" in step]
    held = [step for step in steps if "split" in step and "chosen_reward" in step]
    last = max([step["examples"] for step in steps] + [1])

    def at(examples: float, value: float) -> tuple[float, float]:
        return left + (right - left) * examples / last, bottom - (bottom - top) * (value - low) / (high - low)

    parts = []
    for value in ticks(high, low, 4):
        y = at(0, value)[1]
        parts += [line(left, y, right, y, class_="rule"), text(left - 10, y + 4, tick_label(value), class_="m s", text_anchor="end")]
    if chosen is not None:
        x = left + (right - left) * min(1.0, chosen / max([step["step"] for step in steps] + [1]))  # all steps have as many pairs, but for the last
        side, anchor = (4, "start") if x < (left + right) / 2 else (-4, "end")
        parts += [line(x, top, x, bottom, class_="iso"), text(x + side, bottom - 5, "taken", class_="halo m s", text_anchor=anchor)]
    parts.append(text(left, bottom + 18, "0", class_="m s", text_anchor="middle"))
    parts.append(text(right, bottom + 18, f"{last:,} pairs".replace(",", " "), class_="m s", text_anchor="end"))
    ends = {}
    for name, shade, dash in (("chosen", "var(--good)", "none"), ("rejected", "var(--bad)", "5 3")):
        points = [at(step["examples"], step[f"{name}_reward"]) for step in train]
        if points:
            path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
            parts.append(tag("polyline", points=path, fill="none", stroke=shade, stroke_width=2, stroke_dasharray=dash))
            ends[name] = points[-1][1]
        circles = [at(step["examples"], step[f"{name}_reward"]) for step in held]
        parts += [tag("circle", cx=x, cy=y, r=3.2, fill="var(--paper)", stroke=shade, stroke_width=1.6) for x, y in circles]
    if len(ends) == 2 and abs(ends["chosen"] - ends["rejected"]) < 14:
        middle = (ends["chosen"] + ends["rejected"]) / 2
        up = -7 if ends["chosen"] <= ends["rejected"] else 7
        ends = {"chosen": middle + up, "rejected": middle - up}
    for name, y in ends.items():
        parts.append(text(right + 8, y + 4, name, style=f"fill:var(--{'good' if name == 'chosen' else 'bad'})", class_="s b"))
    told = f"{label}: nothing logged"
    if ends:
        changes = (f"{name} {fixed(train[0][f'{name}_reward'], 2)} to {fixed(train[-1][f'{name}_reward'], 2)}" for name in ends)
        told = f"{label}: from the first to the last logged step, {', '.join(changes)}"
    told += f"; the policy of step {chosen} was taken" if chosen is not None else ""
    return figure(width, height, f"Implicit rewards in training, {label}", told + ".", "".join(parts), key)
