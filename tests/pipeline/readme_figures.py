"""Compares the README's table of figures with a demo that has just run: python3 tests/pipeline/readme_figures.py summary.json

The row of the demo's own seed must agree within a tolerance: training on another processor rounds otherwise, and a README that
only holds on one machine would be no promise (level R1).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parents[2] / "README.md"
POINTS, PER_CENT = 2.5, 8.0  # tolerance of percentages of facts, and of relative changes


def read_row(text: str, seed: int) -> list[float]:
    """Return the numbers of the table's row of a seed: SFT, FactTune-FS, change of incorrect and of correct facts, control."""
    row = re.search(rf"^\| {seed}\b[^|]*\|(.*)\|$", text, flags=re.M)
    if row is None:
        raise SystemExit(f"README.md has no row of figures for seed {seed}")
    cells = row.group(1).replace("−", "-").split("|")
    return [float(re.search(r"[-+]?\d+(?:\.\d+)?", cell)[0]) for cell in cells]  # type: ignore[index]


def measure(numbers: dict[str, Any]) -> list[float]:
    """Return the same numbers from a report's summary.json."""
    runs = {run["name"]: run for run in numbers["runs"]}

    def correct(run: str) -> float:
        return float(runs[run]["decodings"]["sample"]["figures"]["truth"]["percent_correct"]["value"])

    relative = runs["factscore"]["versus_reference"]["relative"]["sample"]["truth"]
    change = runs["random"]["versus_reference"]["decodings"]["sample"]["truth"]["percent_correct"]["value"]
    return [correct("sft"), correct("factscore"), relative["incorrect"]["value"], relative["correct"]["value"], change]


def main() -> int:
    """Print both rows; return 1 where they differ by more than the tolerance."""
    numbers = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    written, measured = read_row(README.read_text(encoding="utf-8"), numbers["seed"]), measure(numbers)
    names = ("SFT, % correct", "FactTune-FS, % correct", "incorrect facts, %", "correct facts, %", "random control, points")
    status = 0
    for name, said, found, allowed in zip(names, written, measured, (POINTS, POINTS, PER_CENT, PER_CENT, POINTS), strict=True):
        fits = abs(said - found) <= allowed
        status |= not fits
        print(f"{name}: README {said:.1f}, measured {found:.1f}{'' if fits else f': differs by more than {allowed}'}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
