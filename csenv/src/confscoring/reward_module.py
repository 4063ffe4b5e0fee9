"""Rewards of one's own: the public functions of a Python file on the volume.

The file is run once, from its source, so it leaves no compiled copy on the volume. What is wrong with it, or goes wrong in
one of its functions, ends the stage: a reward that is missing here and there would make preferences of its absence.
"""

from __future__ import annotations

import inspect
import math
import numbers
import sys
import traceback
import types
from collections.abc import Collection
from pathlib import Path

from confscoring.reward_functions import ResponseFacts, Reward
from volume.errors import UsageError
from volume.settings import RewardsSettings

MODULE = "own_rewards"  # the name under which it runs


def load_rewards(path: Path, taken: Collection[str]) -> dict[str, Reward]:
    """Return the rewards of a Python file by their names: its public functions, in the order in which they stand there.

    Functions that it imports, and those whose names begin with "_", are no rewards.

    Args:
        path: The file.
        taken: Names that it may not use.

    Raises:
        UsageError: There is no such file, it cannot be run, it holds no reward, or one whose name is taken.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"rewards.module: {path} cannot be read ({error.strerror}); expected a Python file with rewards of one's own.") from error
    module = types.ModuleType(MODULE)
    module.__file__ = str(path)
    sys.modules[MODULE] = module  # where a dataclass of the file looks for its own module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:  # somebody else's program, which may raise anything; it goes on as a UsageError
        raise UsageError(f"rewards.module: {path} cannot be run: {_told(error, path)}. Mend the file.") from error
    found: dict[str, Reward] = {
        name: value for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == MODULE and not name.startswith("_")
    }
    if not found:
        raise UsageError(f"rewards.module: {path} holds no reward; expected a function such as `def my_reward(response, settings)`.")
    clashes = sorted(found.keys() & set(taken))
    if clashes:
        raise UsageError(f"rewards.module: {path} defines {', '.join(clashes)}, which the rewards file has already; give it another name.")
    return {name: _checked(name, reward, path) for name, reward in found.items()}


def _checked(name: str, reward: Reward, path: Path) -> Reward:
    """Return the reward with what it raises and returns checked."""

    def call(response: ResponseFacts, settings: RewardsSettings) -> float | None:
        where = f"{name} of {path.name}, on response {response.index} of topic '{response.topic}'"
        try:
            value = reward(response, settings)
        except Exception as error:  # as above
            raise UsageError(f"the reward {where}, raised {_told(error, path)}. Mend the function; it is called as {name}(response, settings).") from error
        if value is None:
            return None
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise UsageError(f"the reward {where}, returned {value!r}; expected a finite number, or None where the response has no such reward.")
        return float(value)

    return call


def _told(error: Exception, path: Path) -> str:
    """Return what was raised, with its line in the file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{type(error).__name__}: {error}" + (f" (line {line})" if line else "")
