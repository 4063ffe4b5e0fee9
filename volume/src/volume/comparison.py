"""How far two makings of the same results are apart: by file, and within a file of figures by number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """The outputs of one step, made twice. Attributes: same, how many; the other three name files."""

    same: int
    differing: list[str]
    missing: list[str]
    further: list[str]

    @property
    def equal(self) -> bool:
        return not (self.differing or self.missing or self.further)


def compare_outputs(before: Mapping[str, str], now: Mapping[str, str | None]) -> Comparison:
    """Compare {path: SHA-256} of a step's outputs as they were with those of now; None: there is no such file."""
    differing = [path for path, digest in before.items() if now.get(path) not in (digest, None)]
    missing = [path for path in before if now.get(path) is None]
    further = [path for path, digest in now.items() if path not in before and digest is not None]
    return Comparison(len(before) - len(differing) - len(missing), differing, missing, further)


@dataclass
class Gap:
    """What differs between two JSON values.

    Attributes:
        numbers: How many numbers stand at the same place in both.
        unequal: How many of these differ.
        largest: The largest difference between two of them.
        texts, other_texts: How many texts stand at the same place in both, and how many of these differ.
        lost: Places at which only one of the two has a value, or each one of another kind.
    """

    numbers: int = 0
    unequal: int = 0
    largest: float = 0.0
    texts: int = 0
    other_texts: int = 0
    lost: int = 0
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [f"{self.unequal:,} of {self.numbers:,} numbers differ" + (f", by at most {self.largest:.3g} (at {self.places[0]})" if self.unequal else "")]
        said.append(f"{self.other_texts:,} of {self.texts:,} texts differ")
        if self.lost:
            said.append(f"{self.lost:,} values have nothing to be compared with")
        return "; ".join(said)


def find_gap(before: Any, now: Any) -> Gap:
    """Compare two JSON values; lists are compared place by place, objects key by key."""
    gap = Gap()
    _walk(before, now, "$", gap)
    return gap


def _walk(before: Any, now: Any, place: str, gap: Gap) -> None:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            if key in before and key in now:
                _walk(before[key], now[key], f"{place}.{key}", gap)
            else:
                gap.lost += _count(before.get(key, now.get(key)))
    elif isinstance(before, list) and isinstance(now, list):
        for number, (one, other) in enumerate(zip(before, now, strict=False)):
            _walk(one, other, f"{place}[{number}]", gap)
        gap.lost += sum(_count(value) for value in (*before[len(now) :], *now[len(before) :]))
    elif _is_number(before) and _is_number(now):
        gap.numbers += 1
        if before != now:
            gap.unequal += 1
            if abs(before - now) > gap.largest:
                gap.largest, gap.places = abs(before - now), [place]
    elif isinstance(before, str) and isinstance(now, str):
        gap.texts += 1
        gap.other_texts += before != now
    elif before != now or type(before) is not type(now):
        gap.lost += max(_count(before), _count(now))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(value: Any) -> int:
    """Return how many single values a JSON value holds."""
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else 1


def tell_gap(before: Path, now: Path) -> str:
    """Return in words how far two files of figures are apart, "" where one of them holds none."""
    try:
        gap = find_gap(json.loads(before.read_bytes()), json.loads(now.read_bytes()))
    except (OSError, ValueError):
        return ""
    return str(gap) if gap.numbers else ""
