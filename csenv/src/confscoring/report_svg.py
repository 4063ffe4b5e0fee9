"""Small pieces of SVG: escaped text, lines, axes, and labels that keep out of each other's way."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass


def number(value: float) -> str:
    """Return a coordinate with at most one decimal: short, and the same everywhere."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Return an element; ``class_`` is class, underscores become hyphens, floats are shortened."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(number(value) if isinstance(value, float) else str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """Return escaped text at a place."""
    return tag("text", html.escape(content), **{"x": float(x), "y": float(y), **attributes})


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **attributes)


def figure(width: float, height: float, title: str, description: str, content: str, key: str, class_: str = "") -> str:
    """Return an SVG element with title and description for those who do not see it; ``key`` is unique on the page."""
    head = f'<title id="{key}-t">{html.escape(title)}</title><desc id="{key}-d">{html.escape(description)}</desc>'
    return (
        f'<svg class="{class_}" role="img" aria-labelledby="{key}-t {key}-d" viewBox="0 0 {number(width)} {number(height)}" '
        f'width="{number(width)}" height="{number(height)}">{head}{content}</svg>'
    )


def alone(drawing: str, width: float, height: float, style: str, margin: float = 16.0) -> str:
    """Return a drawing as a file of its own: on its own paper, with its own style sheet."""
    wide, high = number(width + 2 * margin), number(height + 2 * margin)
    paper = tag("rect", x=-margin, y=-margin, width=width + 2 * margin, height=height + 2 * margin, fill="var(--paper)")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{number(-margin)} {number(-margin)} {wide} {high}" width="{wide}" height="{high}">'
        f"<style>{style}</style>{paper}{drawing}</svg>\n"
    )


def ticks(high: float, low: float = 0.0, wanted: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about ``wanted`` of them."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / wanted))
    step *= next((factor for factor in (1, 2, 5, 10) if span / (step * factor) <= wanted), 10)
    first, last = math.ceil(round(low / step, 9)), math.floor(round(high / step, 9))
    return [round(step * index, 9) for index in range(first, last + 1)]


def tick_label(value: float) -> str:
    return f"{value:g}".replace("-", "−")


@dataclass(frozen=True)
class Box:
    """A rectangle that something covers."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Return the shared area."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0


def place_labels(
    points: Sequence[tuple[float, float]], labels: Sequence[str], area: Box, taken: Sequence[Box], size: float = 12.5
) -> list[tuple[float, float, str]]:
    """Return (x, y, anchor) of each label: beside its point, where it covers least of the others.

    Args:
        points: Where the labels belong.
        labels: Their texts; widths are estimated.
        area: Labels stay inside.
        taken: What they should not cover, beside the points.
        size: Font size, px.
    """
    occupied = [*taken, *(Box(x - 7, y - 7, x + 7, y + 7) for x, y in points)]
    placed = []
    for (x, y), label in zip(points, labels, strict=True):
        width = 0.56 * size * len(label)
        best: tuple[float, float, float, str, Box] | None = None
        for reach in (11.0, 20.0, 32.0, 46.0):
            for angle in range(0, 360, 30):
                dx, dy = math.cos(math.radians(angle)) * reach, math.sin(math.radians(angle)) * reach
                anchor = "start" if dx > 2 else "end" if dx < -2 else "middle"
                left = x + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
                box = Box(left, y + dy - size * 0.62, left + width, y + dy + size * 0.5)
                outside = max(0.0, area.left - box.left) + max(0.0, box.right - area.right) + max(0.0, area.top - box.top) + max(0.0, box.bottom - area.bottom)
                cost = sum(box.overlap(other) for other in occupied) + 200 * outside + 1.2 * reach + (0 if anchor == "start" else 2)
                if best is None or cost < best[0] - 1e-9:
                    best = (cost, x + dx, y + dy + size * 0.34, anchor, box)
        assert best is not None
        placed.append((best[1], best[2], best[3]))
        occupied.append(best[4])
    return placed
