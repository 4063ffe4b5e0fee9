"""What a plan would ask of a language-model service: calls, tokens and money, estimated by the stages' own environment."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from volume.command import place_definition, stage_command
from volume.settings import Definition
from volume.steps import Step, asks_service

ROOT = Path(__file__).resolve().parents[3]


def show_costs(steps: Sequence[Step], definition: Definition, given: argparse.Namespace, file: TextIO | None = None) -> None:
    """Print one line for each of the steps that ask a service, and their sum; nothing where none does.

    Args:
        steps: The steps that would run.
        given: The pipeline's command line.
    """
    file = file or sys.stdout
    asking = [step for step in steps if asks_service(step, definition)]
    if not asking:
        return
    print(f"Calls to {definition.llm.base_url}{' (none: LLM_MODE=replay)' if given.llm_mode == 'replay' else ''}:", file=file)
    total: dict[str, float] = {"steps": 0, "calls": 0, "tokens": 0, "usd": 0}
    assumed: dict[str, None] = {}
    for step in asking:
        found = estimate_step(step, definition, given)
        if isinstance(found, str):
            print(f"  {step.id}: {found}", file=file)
            continue
        tokens = found["prompt_tokens"] + found["completion_tokens"]
        for key, number in (("steps", 1), ("calls", found["calls"]), ("tokens", tokens), ("usd", found["usd"])):
            total[key] += number
        assumed |= dict.fromkeys(found["assumed"])
        print(f"  {step.id}: at most {found['calls']:,} calls, about {tokens:,} tokens{_money(found['usd'], definition)}; {found['recorded']:,} recorded", file=file)
    if total["steps"] > 1:
        print(f"  together: {total['calls']:,.0f} calls, {total['tokens']:,.0f} tokens{_money(total['usd'], definition)}", file=file)
    for what in assumed:
        print(f"  assumed: {what}", file=file)


def estimate_step(step: Step, definition: Definition, given: argparse.Namespace) -> dict[str, Any] | str:
    """Return a step's estimate, or in words why there is none. Makes no environment: a plan costs seconds."""
    engine = [sys.executable, str(ROOT / "docker" / "engine.py")]
    environment = {**os.environ, "DATA": str(given.data_dir.resolve())}
    described = subprocess.run([*engine, "describe", step.env], env=environment, capture_output=True, text=True, check=False)
    if described.returncode != 0:
        return described.stderr.strip()
    about = json.loads(described.stdout)
    if not (about["image_id"] or (about["engine"] == "venv" and about["python"])):
        return "not estimated; the stage counts it in its own environment, which `make envs` or `make images` makes"
    place_definition(given)
    command = stage_command(step, definition, given, f"{step.module.partition('.')[0]}.estimate")
    done = subprocess.run([*engine, "run", step.env, "--", *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return f"not estimated: {said[-1].removeprefix('error: ')}"
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _money(usd: float, definition: Definition) -> str:
    if definition.llm.input_price == definition.llm.output_price == 0:
        return " (no prices: llm.input_price and llm.output_price, US dollars per million tokens)"
    return f", {usd:.2f} US dollars"
