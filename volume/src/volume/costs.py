"""What a plan would ask of language-model services: calls, tokens and money, estimated by the stages' own environment.

Each package has a module `estimate` for its stages: `python -m <package>.estimate STAGE` and the stage's own arguments. What
they have in common is here.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from volume.command import stage_command
from volume.context import Context, open_context
from volume.errors import COMPLETE, UsageError, suggest, tell_errors
from volume.files import FileHashes
from volume.journal import mark_topics, read_entries, still_holds
from volume.llm import Request, estimate_tokens, price
from volume.manifest import fingerprint_of
from volume.settings import Definition, LlmSettings
from volume.step import Step
from volume.steps import asks_service

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Estimate:
    """Calls still to make and what they would use; ``assumed`` says in words what is not known."""

    calls: int = 0
    recorded: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    assumed: list[str] = field(default_factory=list)

    def add(self, request: Request, number: float, reply_tokens: float) -> None:
        """Add ``number`` calls of the length of a request."""
        self.calls += round(number)
        self.prompt_tokens += round(number * sum(estimate_tokens(text) for _, text in request.messages))
        self.completion_tokens += round(number * reply_tokens)

    def assume(self, what: str) -> None:
        """Note an assumption, once."""
        if what not in self.assumed:
            self.assumed.append(what)


def tell_estimate(argv: Sequence[str], estimators: Mapping[str, Callable[[Context], Estimate]]) -> int:
    """Print what a stage would still ask for as one JSON object; return the exit status.

    Args:
        argv: The stage's name, then its own arguments.
        estimators: The stages of a package that may ask a service.
    """

    def run() -> int:
        stage = argv[0] if argv else ""
        if stage not in estimators:
            raise UsageError(f"stage '{stage}' asks no service.{suggest(stage, estimators)} Give the stage first, then its own arguments.")
        ctx = open_context(stage, argv[1:])
        found = estimators[stage](ctx)
        service = service_of(ctx.step, ctx.definition)
        print(json.dumps({**dataclasses.asdict(found), "usd": price(service, found.prompt_tokens, found.completion_tokens)}))
        return COMPLETE

    return tell_errors(run)


def waiting_topics(ctx: Context) -> list[str]:
    """Return the topics that a stage would still work on, by the stage's own rule."""
    hashes = FileHashes(ctx.paths.manifests / ".hashes" / f"{ctx.step.id}.json")
    names = [topic["topic"] for topic in ctx.topics]
    marks = mark_topics(ctx, fingerprint_of(ctx.step, ctx.definition, names, hashes, ctx.data_dir, ctx.limit))
    entries = read_entries(ctx.paths.journal(ctx.step.id))
    return [name for name in names if name not in entries or not still_holds(ctx, hashes, entries[name], marks[name])]


def service_of(step: Step, definition: Definition) -> LlmSettings:
    """Return the service that a step asks: samplers may have a server of their own."""
    samples = step.module in ("confscoring.responses", "confscoring.answers", "confscoring.entities")
    return definition.completions if samples and definition.completions is not None else definition.llm


def show_costs(steps: Sequence[Step], definition: Definition, given: argparse.Namespace, file: TextIO | None = None) -> None:
    """Print for each service one line for each of the steps that ask it, and their sum; nothing where none does.

    Args:
        steps: The steps that would run.
        given: The pipeline's command line.
    """
    file = file or sys.stdout
    asking = [step for step in steps if asks_service(step, definition)]
    for service in dict.fromkeys(service_of(step, definition) for step in asking):
        _show_service([step for step in asking if service_of(step, definition) == service], service, definition, given, file)


def _show_service(steps: Sequence[Step], service: LlmSettings, definition: Definition, given: argparse.Namespace, file: TextIO) -> None:
    print(f"Calls to {service.base_url}{' (none: LLM_MODE=replay)' if given.llm_mode == 'replay' else ''}:", file=file)
    total: dict[str, float] = {"steps": 0, "calls": 0, "tokens": 0, "usd": 0}
    assumed: dict[str, None] = {}
    for step in steps:
        found = estimate_step(step, definition, given)
        if isinstance(found, str):
            print(f"  {step.id}: {found}", file=file)
            continue
        tokens = found["prompt_tokens"] + found["completion_tokens"]
        for key, number in (("steps", 1), ("calls", found["calls"]), ("tokens", tokens), ("usd", found["usd"])):
            total[key] += number
        assumed |= dict.fromkeys(found["assumed"])
        money = _money(found["usd"], service, definition)
        print(f"  {step.id}: at most {found['calls']:,} calls, about {tokens:,} tokens{money}; {found['recorded']:,} recorded", file=file)
    if total["steps"] > 1:
        print(f"  together: {total['calls']:,.0f} calls, {total['tokens']:,.0f} tokens{_money(total['usd'], service, definition)}", file=file)
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
    package, _, stage = step.module.partition(".")
    python, option, module, *arguments = stage_command(step, definition, given, f"{package}.estimate")
    command = [python, option, module, stage, *arguments]
    done = subprocess.run([*engine, "run", step.env, "--", *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return f"not estimated: {said[-1].removeprefix('error: ')}"
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _money(usd: float, service: LlmSettings, definition: Definition) -> str:
    if service.input_price == service.output_price == 0:
        section = "completions" if service == definition.completions else "llm"
        return f" (no prices: {section}.input_price and {section}.output_price, US dollars per million tokens)"
    return f", {usd:.2f} US dollars"
