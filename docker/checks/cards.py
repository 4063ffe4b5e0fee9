"""The NVIDIA cards of the host: which there are, which a run would use, and whether a stack's PyTorch has code for them.

`nvidia-smi` is asked, not PyTorch: this comes before any environment is made, and the old wheels call a card available that they
have no code for.
"""

from __future__ import annotations

import csv
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "volume" / "src"))

from common import STACKS  # noqa: E402
from stacks import oldest_driver, sm_list  # noqa: E402

from checks.basics import PATIENCE, Answer, ask  # noqa: E402
from volume.cards import can_run  # noqa: E402

FIELDS = ("index", "uuid", "name", "driver_version", "memory.total", "memory.free", "mig.mode.current", "compute_cap")
_SAID_AS_UNKNOWN = "is not a valid field to query"  # of compute_cap, by nvidia-smi before driver 510


@dataclass(frozen=True)
class Card:
    """A card as nvidia-smi describes it; None stands for what it does not tell.

    Attributes: capability, e.g. (8, 6); driver, e.g. (535, 129, 3); total and free, MiB of memory; mig, whether it is cut into slices.
    """

    index: int
    uuid: str
    name: str
    driver: tuple[int, ...]
    total: int | None
    free: int | None
    mig: bool
    capability: tuple[int, int] | None

    @property
    def sm(self) -> str:
        return f"SM {self.capability[0]}.{self.capability[1]}" if self.capability else "SM unknown"


@dataclass(frozen=True)
class Cards:
    """Attributes: all cards of the host; visible, those that a run would see; fault, why nvidia-smi told of none ("": it did, or is not there);
    hung, whether it did not answer at all."""

    all: tuple[Card, ...] = ()
    visible: tuple[Card, ...] = ()
    fault: str = ""
    hung: bool = False


def look_at_cards(variables: Mapping[str, str], patience: float = PATIENCE) -> Cards:
    """Ask nvidia-smi for the cards; without one, there are none."""
    if shutil.which("nvidia-smi") is None:
        return Cards()
    answer = _query(FIELDS, patience)
    if _SAID_AS_UNKNOWN in answer.out + answer.err:
        answer = _query(FIELDS[:-1], patience)
    if answer.hung:
        return Cards(fault=f"nvidia-smi did not answer within {patience:g} s", hung=True)
    if answer.status != 0:
        return Cards(fault=f"nvidia-smi failed: {answer.last_line}")
    try:
        cards = tuple(read_cards(answer.out))
    except ValueError as error:
        return Cards(fault=f"nvidia-smi said what cannot be read ({error})")
    return Cards(cards, tuple(visible_cards(cards, variables)))


def _query(fields: Sequence[str], patience: float) -> Answer:
    return ask(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"], patience)


def read_cards(text: str) -> list[Card]:
    """Read nvidia-smi's answer to `FIELDS`, with or without the last of them.

    Raises:
        ValueError: It is no such answer; the message holds the line.
    """
    cards = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells == ["No devices were found"]:
            continue
        driver = re.findall(r"\d+", cells[3]) if len(cells) in (len(FIELDS), len(FIELDS) - 1) else []
        if not driver or not cells[0].isdigit():
            raise ValueError(f"expected {', '.join(FIELDS)}; got: {', '.join(row)[:80]}")
        capability = re.fullmatch(r"(\d+)\.(\d+)", cells[7]) if len(cells) == len(FIELDS) else None
        total, free = (int(cell) if cell.isdigit() else None for cell in cells[4:6])
        cards.append(Card(
            int(cells[0]), cells[1], cells[2], tuple(int(part) for part in driver), total, free, cells[6] == "Enabled",
            (int(capability[1]), int(capability[2])) if capability else None,
        ))  # fmt: skip
    return cards


def visible_cards(cards: Sequence[Card], variables: Mapping[str, str]) -> list[Card]:
    """Return the cards that the variables leave to a run, in their order.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: set and empty, or with a first entry that names no card ("-1", "none"), it hides
    all; a list ends at the first such entry. NVIDIA_VISIBLE_DEVICES chooses the cards of a container: inside one the choice has been made
    ("void" says so, and numbers are those of its host), so that a list that names none of these cards changes nothing.
    """
    left = list(cards)
    outer = variables.get("NVIDIA_VISIBLE_DEVICES", "all")
    if outer != "all":
        chosen = _named(left, outer)
        if chosen or outer in ("", "none", "-1"):
            left = chosen
    inner = variables.get("CUDA_VISIBLE_DEVICES")
    return left if inner is None else _named(left, inner)


def hides_all(variables: Mapping[str, str]) -> bool:
    """Return whether the variables alone say that no card is used, so that nvidia-smi need not be asked."""
    return any(variables.get(name, "all").split(",")[0].strip() in ("", "none", "-1") for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"))


def _named(cards: Sequence[Card], names: str) -> list[Card]:
    """Return the cards of a list of indices and (beginnings of) UUIDs, up to the first entry that names none."""
    chosen: list[Card] = []
    for entry in names.split(","):
        name = entry.strip()
        found = [card for card in cards if name == str(card.index) or (name.startswith("GPU-") and card.uuid.startswith(name))]
        if name.startswith("MIG-"):  # nvidia-smi's table does not say whose slice that is; the cut cards of a host are of one kind
            found = [card for card in cards if card.mig]
        if not found:
            break
        chosen += [card for card in found if card not in chosen]
    return chosen


def without_code(cards: Sequence[Card], envs: Sequence[str], stack: str) -> list[tuple[Card, str]]:
    """Return the cards, with the environment, that the stack's PyTorch has no code for; a card whose capability is not known is none of them."""
    return [
        (card, env) for env in envs for card in cards
        if card.capability is not None and not can_run(card.capability, [f"sm_{sm.replace('.', '')}" for sm in sm_list(env, stack)])
    ]  # fmt: skip


def with_old_driver(cards: Sequence[Card], envs: Sequence[str], stack: str) -> list[tuple[Card, str]]:
    """Return the cards, with the environment, whose driver is too old for the stack's CUDA."""
    return [(card, env) for env in envs for card in cards if card.driver < oldest_driver(env, stack)]


def choose_stack(cards: Sequence[Card], envs: Sequence[str], wanted: str) -> str | None:
    """Return the stack that runs on all cards: the one that was asked for if it does, else another; None where there is none."""
    return next((stack for stack in (wanted, *STACKS) if not without_code(cards, envs, stack) and not with_old_driver(cards, envs, stack)), None)


def why_not(cards: Sequence[Card], envs: Sequence[str], stack: str) -> list[str]:
    """Return in words why the stack does not run on the cards: a line for each kind of card and each fault; none where it does."""
    lines = []
    for pairs, fault in ((without_code(cards, envs, stack), _no_code), (with_old_driver(cards, envs, stack), _old_driver)):
        kinds: dict[str, tuple[Card, list[str]]] = {}
        for card, env in pairs:
            names = kinds.setdefault(card.name, (card, []))[1]
            if env not in names:
                names.append(env)
        lines += [fault(card, names, stack) for card, names in kinds.values()]
    return lines


def _no_code(card: Card, envs: Sequence[str], stack: str) -> str:
    return f"{card.name} is an {card.sm} card, and PyTorch of {_list(envs)} in the {stack} stack has code for SM {', '.join(sm_list(envs[0], stack))} alone"


def _old_driver(card: Card, envs: Sequence[str], stack: str) -> str:
    need = max(oldest_driver(env, stack) for env in envs)
    return f"{card.name} has driver {show_version(card.driver)}, and CUDA of {_list(envs)} in the {stack} stack needs {show_version(need)} or newer"


def what_instead(cards: Sequence[Card], envs: Sequence[str], stack: str) -> str:
    """Return what to do where the stack does not run on the cards."""
    other = choose_stack(cards, envs, stack)
    if other:
        return f"Use STACK={other}, or hide the card (CUDA_VISIBLE_DEVICES=) to run on the CPU"
    fit = [card for card in cards if choose_stack([card], envs, stack)]
    if fit:
        numbers, which = ",".join(str(card.index) for card in fit), choose_stack(fit, envs, stack)
        also = "" if which == stack else f" STACK={which}"
        return f"Leave the others out: CUDA_VISIBLE_DEVICES={numbers}{also}; or run on the CPU: CUDA_VISIBLE_DEVICES="
    if with_old_driver(cards, envs, stack):
        return "Install a newer driver of the card, or hide the card (CUDA_VISIBLE_DEVICES=) to run on the CPU"
    return "No stack runs on it. Hide the card (CUDA_VISIBLE_DEVICES=) to run on the CPU"


def show_version(version: Sequence[int]) -> str:
    """Return a version as it is written: 535.129.03."""
    return ".".join(f"{part:02d}" if place > 1 else str(part) for place, part in enumerate(version))


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
