"""What is looked at on the host before an environment is made or anything is downloaded: the part of `make doctor` that concerns a run.

It is quick, since every run passes it: programs are asked only where there is something to decide.
"""

from __future__ import annotations

import os
import sys

from checks.basics import gib_free
from checks.cards import hides_all, look_at_cards, what_instead, why_not
from checks.engines import environments_made, find_store, look_at_engine
from checks.places import write_once
from common import EngineError, Settings
from venvs import GIB


def check_host(settings: Settings, envs: list[str]) -> None:
    """Check that the host can run what is about to start.

    Args:
        envs: The environments that it needs.

    Raises:
        EngineError: The stack has no code for a card that it would use, its driver is too old or hangs, the volume cannot be written, or
            the disk has no room for the environments that are still to be made.
    """
    check_cards(settings, envs)
    written = write_once(settings.data)
    if written.fault:
        raise EngineError(f"the volume: {written.fault}. Mend its permissions, free some space, or set DATA to another folder (now {settings.data}).")
    check_room(settings, envs)


def check_cards(settings: Settings, envs: list[str]) -> None:
    """Check the cards that a run would use against the stack.

    Raises:
        EngineError: The stack does not run on one of them, or their driver does not answer.
    """
    if hides_all(os.environ):
        return
    cards = look_at_cards(os.environ)
    if cards.hung:
        raise EngineError(
            f"{cards.fault}, and what uses a card would hang with it. Restart the host or its driver, or hide the cards (CUDA_VISIBLE_DEVICES=) "
            "to run on the CPU."
        )
    if cards.fault:  # PyTorch finds no card then, and what can do without one runs on the CPU
        print(f"warning: {cards.fault}. This runs on the CPU; `make doctor` says more.", file=sys.stderr, flush=True)
    reasons = why_not(cards.visible, envs, settings.stack)
    if reasons:
        raise EngineError(f"{'; '.join(reasons)}. {what_instead(cards.visible, envs, settings.stack)}.")


def check_room(settings: Settings, envs: list[str]) -> None:
    """Check that all environments still to be made find room together, before the first of them is.

    Raises:
        EngineError: They do not.
    """
    made = environments_made(settings, envs)
    left = [env for env in envs if env not in made]
    if not left or settings.engine == "apptainer":  # its images come from elsewhere
        return
    store = find_store(settings, None if settings.engine == "venv" else look_at_engine(settings.engine))
    need = room_for(left)
    if store is not None and gib_free(store) < need:
        other = "set ENVS to a folder on another disk" if settings.engine == "venv" else "move the engine's store to another disk"
        what = f"{', '.join(left)} {'takes' if len(left) == 1 else 'take'} {need:g} GiB in {store} while being made"
        raise EngineError(f"{what}, {gib_free(store):.1f} are free. Free some, or {other}.")


def room_for(envs: list[str]) -> float:
    """Return the GiB that environments or images take while they are made."""
    return float(sum(GIB[env] for env in envs))
