"""Which steps a goal comes to: those of its stage and all that they need, for the policies that were asked for."""

from __future__ import annotations

from collections.abc import Iterable

from volume.errors import UsageError, suggest
from volume.settings import Definition
from volume.step import Step


def choose_steps(steps: dict[str, Step], definition: Definition, goal: str, runs: str = "", reward: str = "") -> dict[str, Step]:
    """Return the steps of a goal and all that they need, in running order.

    Args:
        runs: Comma-separated names of policies; only these are trained and evaluated, beside what they need.
        reward: Comma-separated rewards; only the policies trained on them. With ``runs``, those that both name.

    Raises:
        UsageError: A name is unknown, no policy is left, or the goal has no step in this dataset.
    """
    wanted = choose_runs(definition, runs, reward)

    def asked(step: Step) -> bool:
        return step.target not in ("train", "eval") or "--run" not in step.args or step.args[step.args.index("--run") + 1] in wanted

    own = [step.id for step in steps.values() if step.target == goal]
    if not own:
        raise UsageError(f"'{definition.name}' has no stage '{goal}': it is switched off in its definition.")
    waiting = [name for name in own if asked(steps[name])]
    if not waiting:
        raise UsageError(f"{_given(runs, reward)}: {', '.join(sorted(wanted))} of '{definition.name}' has nothing to do in '{goal}'.")
    chosen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in chosen:
            continue
        chosen.add(name)
        # The report shows what there is; what it was not asked to run is no need of it.
        waiting += [need for need in steps[name].needs if steps[name].target != "report" or asked(steps[need])]
    return {name: step for name, step in steps.items() if name in chosen}


def choose_runs(definition: Definition, runs: str = "", reward: str = "") -> set[str]:
    """Return the policies that RUNS and REWARD leave: all that are not extra where neither is given, RUNS=all: all.

    Raises:
        UsageError: A name is unknown, or no policy is left.
    """
    wanted = {name for name, run in definition.runs.items() if not run.extra}
    if runs.strip() == "all":
        wanted, runs = set(definition.runs), ""
    for name in _names(runs):
        if name not in definition.runs:
            raise UsageError(f"RUNS={runs}: no run '{name}' in '{definition.name}'.{offer(name, definition.runs)}")
    if _names(runs):
        wanted = set(_names(runs))
    trained = {name: run.reward for name, run in definition.runs.items() if run.reward}
    for name in _names(reward):
        if name not in trained.values():
            raise UsageError(f"REWARD={reward}: no run of '{definition.name}' is trained on '{name}'.{offer(name, trained.values())}")
    if _names(reward):
        named = {run for run, name in trained.items() if name in _names(reward)}
        wanted |= named if not _names(runs) else set()
        if not wanted & named:
            raise UsageError(f"{_given(runs, reward)}: no run is named by both. Trained on this reward: {', '.join(sorted(named))}. Give one of the two.")
        wanted &= named
    return wanted


def offer(given: str, known: Iterable[str]) -> str:
    """Return the choices, after the near name if there is one: " Did you mean 'x'? Choices: x, y." """
    names = sorted(set(known))
    near = suggest(given, names)
    return f"{near if near.endswith('?') else ''} Choices: {', '.join(names)}."


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _given(runs: str, reward: str) -> str:
    return " ".join(f"{name}={value}" for name, value in (("RUNS", runs), ("REWARD", reward)) if value)
