"""Names for things that repeat, so that a dict keeps them all."""

from __future__ import annotations

from collections.abc import Iterable


def numbered(keys: Iterable[str]) -> list[str]:
    """Return the keys with repeats marked "#2", "#3", …; a mark that some key has by itself is passed over."""
    seen: dict[str, int] = {}
    used: set[str] = set()
    result = []
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
        name = key if seen[key] == 1 else f"{key}#{seen[key]}"
        while name in used:
            seen[key] += 1
            name = f"{key}#{seen[key]}"
        used.add(name)
        result.append(name)
    return result
