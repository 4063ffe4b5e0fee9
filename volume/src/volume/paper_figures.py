"""The drawing of the table of methods: per cent correct with its interval and every seed, and the facts behind it, one row per method.

Labels stand above their row, so that the drawing is narrow and its type stays readable on a phone; blue and vermilion stay
apart for colour-blind readers and in grey print, and each has its name beside it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from volume.paper_table import CORRECT, INCORRECT, MICRO, Figure, Line, fixed

_WIDTH, _MARGIN, _TOP, _ROW = 600, 16, 148, 50
_LEFT, _BARS, _RIGHT = (28.0, 352.0), 396.0, 534.0  # the panel of shares; bars from … to …
_STYLE = """
text { font: 15px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; fill: #1d2126; }
.title { font-size: 18px; font-weight: 650; } .s { font-size: 13px; } .m { fill: #59616b; } .b { font-weight: 650; }
.grid { stroke: #dfdcd3; } .axis { stroke: #1d2126; stroke-dasharray: 5 3; stroke-width: 1.5; } .span { stroke: #15609f; stroke-width: 2.5; }
.seed { stroke: #1d2126; stroke-width: 1.3; } .good { fill: #15609f; } .bad { fill: #b3470e; } .hollow { fill: #fff; stroke: #15609f; stroke-width: 2.5; }
.halo { paint-order: stroke; stroke: #fff; stroke-width: 5px; stroke-linejoin: round; }
.cross { stroke: #15609f; stroke-width: 3; fill: none; }
"""


def draw_methods(lines: Sequence[Line], reference: str, control: str = "") -> str:
    """Return the drawing as the content of an SVG file.

    Args:
        lines: The table's, in its order; what was not run says so.
        reference: The row that the others are compared with: a vertical line goes through it.
        control: The row of random preferences, marked by a cross.
    """
    shares = [line.ours.figure(MICRO) for line in lines if line.ours]
    low, high = _range(shares)
    counts = [line.ours.figure(name).value or 0.0 for line in lines if line.ours for name in (CORRECT, INCORRECT)]
    most = max([*counts, 0.1])
    bottom = _TOP + _ROW * len(lines)

    def at(share: float) -> float:
        return _LEFT[0] + (_LEFT[1] - _LEFT[0]) * (share - low) / (high - low)

    parts = [_head(lines, reference)]
    for tick in _ticks(low, high):
        parts.append(_line(at(tick), _TOP - 8, at(tick), bottom, "grid"))
        parts += [_text(at(tick), y, f"{tick:g} %", "s m", "middle") for y in (_TOP - 14, bottom + 16)]
    compared = next((line.ours.figure(MICRO).value for line in lines if line.row.name == reference and line.ours), None)
    if compared is not None:
        parts.append(_line(at(compared), _TOP - 8, at(compared), bottom, "axis"))
    for index, line in enumerate(lines):
        y = _TOP + index * _ROW
        parts.append(_text(_MARGIN, y + 14, _label(line, control), "halo b" if line.row.name == reference else "halo"))
        if line.ours is None:
            parts.append(_text(_RIGHT + 46, y + 14, "not run", "m", "end"))
            continue
        share = line.ours.figure(MICRO)
        parts.append(_text(_LEFT[1], y + 14, fixed(share.value), "b", "end"))
        parts += _marks(share, at, y + 31, "cross" if line.row.name == control else "hollow" if line.row.name == reference else "good")
        for offset, name, shade in ((8, CORRECT, "good"), (24, INCORRECT, "bad")):
            value = line.ours.figure(name).value or 0.0
            wide = (_RIGHT - _BARS) * value / most
            parts.append(f'<rect x="{_BARS:g}" y="{y + offset}" width="{wide:.1f}" height="13" class="{shade}"/>')
            parts.append(_text(_BARS + wide + 6, y + offset + 11, fixed(value, 2), "s"))
    told = html.escape(_told(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 28}" width="{_WIDTH}" height="{bottom + 28}" role="img" aria-labelledby="t d">'
        f'<title id="t">{html.escape(_sentence(lines, reference))}</title><desc id="d">{told}</desc><style>{_STYLE}</style>'
        f'<rect width="{_WIDTH}" height="{bottom + 28}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _head(lines: Sequence[Line], reference: str) -> str:
    label = next((line.row.label for line in lines if line.row.name == reference), "")
    seeds = max([len(line.ours.seeds) for line in lines if line.ours] + [0])
    below = [*(["small ticks: seeds"] if seeds > 1 else []), *([f"dashed: {label}"] if label else [])]
    keys = f'<rect x="{_BARS:g}" y="75" width="12" height="12" class="good"/><rect x="{_BARS + 80:g}" y="75" width="12" height="12" class="bad"/>'
    return "".join([
        _text(_MARGIN, 30, _sentence(lines, reference), "title"), _text(_MARGIN, 64, "Correct, of all facts", "b"),
        _text(_MARGIN, 84, "dot: mean; line: 95 % interval;", "s m"), _text(_MARGIN, 102, "; ".join(below), "s m"),
        _text(_BARS, 64, "Facts per response", "b"), keys, _text(_BARS + 17, 86, "correct", "s"), _text(_BARS + 97, 86, "incorrect", "s"),
    ])  # fmt: skip


def _sentence(lines: Sequence[Line], reference: str) -> str:
    """Return what the drawing shows in one sentence: for how many methods the interval of the gain on the reference lies above 0."""
    label = next((line.row.label for line in lines if line.row.name == reference), "")
    gains = [line.ours.difference(MICRO).low for line in lines if line.ours and line.row.name != reference]
    known = [low for low in gains if low is not None]
    if not known:
        return "Share of correct facts, by method"
    better = sum(low > 0 for low in known)
    return f"{better} of {len(known)} methods surpass {label} in per cent correct"


def _told(lines: Sequence[Line]) -> str:
    """Return the numbers in words, for those who do not see the drawing."""
    found = [
        f"{line.row.label}: {fixed(line.ours.figure(MICRO).value)} % correct, {fixed(line.ours.figure(CORRECT).value, 2)} correct and "
        f"{fixed(line.ours.figure(INCORRECT).value, 2)} incorrect facts per response"
        for line in lines if line.ours
    ]  # fmt: skip
    return "; ".join(found) + "."


def _label(line: Line, control: str) -> str:
    return line.row.label if line.row.name != control or "control" in line.row.label else f"{line.row.label} (control)"


def _marks(share: Figure, at: Callable[[float], float], y: float, kind: str) -> list[str]:
    """Return a figure's interval, its seeds and itself, on one line."""
    if share.value is None:
        return []
    parts = [_line(at(seed), y - 8, at(seed), y + 8, "seed") for seed in share.seeds if seed is not None] if len(share.seeds) > 1 else []
    if share.low is not None and share.high is not None:
        parts.append(_line(at(share.low), y, at(share.high), y, "span"))
    x = at(share.value)
    cross = f'<path d="M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12" class="cross"/>'
    return [*parts, cross if kind == "cross" else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="{kind}"/>']


def _range(shares: Sequence[Figure]) -> tuple[float, float]:
    """Return the ends of the axis: multiples of 5 that have all intervals and seeds between them."""
    numbers = [number for share in shares for number in (share.value, share.low, share.high, *share.seeds) if number is not None]
    if not numbers:
        return 0.0, 100.0
    low, high = 5.0 * math.floor(min(numbers) / 5), 5.0 * math.ceil(max(numbers) / 5)
    return low, high if high > low else low + 5


def _ticks(low: float, high: float) -> list[float]:
    step = next(step for step in (5, 10, 20, 25, 50) if (high - low) / step <= 6)
    return [float(share) for share in range(0, 101, step) if low <= share <= high]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{html.escape(content)}</text>'
