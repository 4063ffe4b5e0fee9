"""Drawings of confidence and rewards: a reliability diagram, and the histogram of a reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confscoring.report_svg import figure, line, number, tag, text, tick_label
from confscoring.report_words import fixed

Numbers = Mapping[str, Any]


def reliability_diagram(bins: Sequence[Numbers], name: str, axis: str, probability: bool, key: str) -> str:
    """Return the share of correct claims against confidence, bin by bin, and below it how many claims each bin holds.

    Args:
        bins: From ``calibration.reliability``.
        name: The score.
        axis: What the horizontal axis is.
        probability: Whether confidence promises that share: then the diagonal is drawn.
        key: Unique on the page.
    """
    width, height, left, right, top, bottom, strip = 258, 306, 34, 250, 24, 220, 262
    most = max([row["claims"] for row in bins] + [1])

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x, bottom - (bottom - top) * y

    parts = [text(0, 11, "↑ share that is correct", class_="m s")]
    for value in (0.0, 0.5, 1.0):
        x, y = at(value, value)
        parts += [line(left, y, right, y, class_="rule"), text(left - 7, y + 4, tick_label(value), class_="m s", text_anchor="end")]
        parts.append(text(x, strip + 16, tick_label(value), class_="m s", text_anchor="middle"))
    parts += [line(left, strip, right, strip, class_="rule"), text(right, strip + 36, f"{axis} →", class_="m s", text_anchor="end")]
    if probability:
        parts.append(line(*at(0, 0), *at(1, 1), class_="iso", style="opacity:1"))
    for row in bins:
        x, tall = at(row["low"], 0)[0], 30 * row["claims"] / most
        parts.append(tag("rect", x=x + 1, y=strip - tall, width=(right - left) * (row["high"] - row["low"]) - 2, height=tall, fill="var(--vague)"))
    filled = [row for row in bins if row["claims"]]
    points = [at(row["confidence"], row["correct"]["value"]) for row in filled]
    for row, (x, _) in zip(filled, points, strict=True):
        if row["correct"]["low"] is not None:
            parts.append(line(x, at(0, row["correct"]["low"])[1], x, at(0, row["correct"]["high"])[1], stroke="var(--good)", stroke_width=1.4, opacity="0.5"))
    path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    parts.append(tag("polyline", points=path, fill="none", stroke="var(--good)", stroke_width=2))
    parts += [tag("circle", cx=x, cy=y, r=3.4, fill="var(--good)") for x, y in points]
    told = "; ".join(f"{fixed(row['confidence'], 2)}: {fixed(row['correct']['value'], 2)} of {row['claims']} claims" for row in filled) or "no claim has this score"
    return figure(width, height, f"Reliability of {name}", f"Mean {axis}, and share that is correct: {told}.", "".join(parts), key)


def histogram(row: Numbers, key: str) -> str:
    """Return how many responses have which value of a reward.

    Args:
        row: From ``report_rewards.spread_values``.
        key: Unique on the page.
    """
    width, height, bottom = 160, 92, 72
    counts = row["counts"]
    step, most = width / len(counts), max([*counts, 1])
    bars = [
        tag("rect", x=place * step + 0.5, y=bottom - 66 * count / most, width=step - 1, height=66 * count / most, fill="var(--vague)")
        for place, count in enumerate(counts)
        if count
    ]
    parts = [*bars, line(0, bottom, width, bottom, class_="rule")]
    told = "No response has a value."
    if row["low"] is not None:
        ends = [(0.0, row["low"], "start"), (float(width), row["high"], "end")]
        parts += [text(x, bottom + 16, fixed(value, 2), class_="m s", text_anchor=anchor) for x, value, anchor in ends]
        told = f"Responses in {len(counts)} equal steps from {fixed(row['low'], 2)} to {fixed(row['high'], 2)}: {', '.join(map(str, counts))}."
    return figure(width, height, f"Values of {row['reward']}", told, "".join(parts), key)
