"""Measures the building of a knowledge base: pages per minute, peak memory at two sizes, and a build that is killed and goes on.

    PYTHONPATH=volume/src:fsenv/src python tests/bench/bench_knowledge.py [--quick]

Every build is a process of its own; its peak memory includes Python. The articles have about 120 words.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BUILD = """
import os, resource, signal, sys
from factscoring import build_knowledge, knowledge_file

stop, read_lines = int(sys.argv[1]), knowledge_file.read_lines

def stopping(path):
    for number, row in read_lines(path):
        if number == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        yield number, row

if stop:
    knowledge_file.read_lines = stopping
status = build_knowledge.main(["--input", sys.argv[2], "--output", sys.argv[3]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
raise SystemExit(status)
"""


@dataclass(frozen=True)
class Run:
    """One build: its seconds, its peak memory in MiB (None where it was killed), and what it said."""

    seconds: float
    peak: float | None
    said: str


def write_articles(path: Path, number: int) -> None:
    """Write short articles whose titles come in no order."""
    rng = random.Random(number)
    words = ["".join(rng.choices("abcdefghiklmnoprstuvw", k=rng.randint(2, 9))) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as file:
        for article in range(number):
            sentences = (" ".join(rng.choices(words, k=12)).capitalize() + "." for _ in range(10))
            title = f"{rng.choice(words)} {rng.choice(words)} {article}".title()
            file.write(json.dumps({"title": title, "text": " ".join(sentences)}) + "\n")


def build(source: Path, output: Path, stop: int = 0) -> Run:
    """Build once; with ``stop``, kill the process at that line."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", BUILD, str(stop), str(source), str(output)], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode != (-signal.SIGKILL if stop else 0):
        raise SystemExit(f"the build ended with status {done.returncode}:\n{done.stderr}")
    return Run(seconds, None if stop else int(done.stdout) / 1024, done.stderr.splitlines()[0] if done.stderr else "")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the articles")
    sizes = (2_000, 10_000) if parser.parse_args().quick else (20_000, 100_000)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "pages.jsonl", Path(folder) / "knowledge.db"
        for size in sizes:
            write_articles(source, size)
            run = build(source, output)
            print(f"{size:>8,} articles: {run.seconds:6.1f} s, {size / run.seconds * 60:>10,.0f} a minute, peak {run.peak:.0f} MiB")
        whole = hashlib.sha256(output.read_bytes()).hexdigest()
        killed = build(source, output, stop=sizes[-1] * 9 // 10)
        resumed = build(source, output)
        same = hashlib.sha256(output.read_bytes()).hexdigest() == whole
        print(f"killed at 90 % ({killed.seconds:.1f} s), then {resumed.seconds:.1f} s: {resumed.said}; the bytes are {'equal' if same else 'NOT EQUAL'}")


if __name__ == "__main__":
    main()
