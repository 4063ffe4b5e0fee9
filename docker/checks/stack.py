"""Which cards a dataset uses, and which stack has code for them."""

from __future__ import annotations

from collections.abc import Sequence

from common import Settings

from checks.basics import Finding
from checks.cards import Cards, choose_stack, show_version, what_instead, why_not
from checks.needs import needs_card, runs_on_cpu
from volume.settings import Definition


def judge_cards(definition: Definition, settings: Settings, envs: Sequence[str], cards: Cards, processes: int) -> list[Finding]:
    """Return what is to be said of the cards, for a dataset that uses them and for one that does not."""
    idle = runs_on_cpu(definition)
    if cards.fault:
        remedy = "`nvidia-smi` must answer: restart the host, or install the driver that fits its kernel"
        if idle:
            return [Finding("gpu", "warning", f"{cards.fault}; '{definition.name}' runs on the CPU and needs no card", remedy)]
        also = "" if needs_card(definition) else "; or hide the cards (CUDA_VISIBLE_DEVICES=) to run on the CPU"
        return [Finding("gpu", "missing" if cards.hung or needs_card(definition) else "warning", cards.fault, remedy + also)]
    if not cards.visible:
        hidden = f"{len(cards.all)} NVIDIA GPU(s), all hidden by CUDA_VISIBLE_DEVICES or NVIDIA_VISIBLE_DEVICES" if cards.all else "no NVIDIA GPU"
        if idle or not needs_card(definition):
            return [Finding("gpu", "ok", f"{hidden}; '{definition.name}' {'runs on the CPU and needs none' if idle else 'can do without, slowly'}")]
        if cards.all:
            return [Finding("gpu", "missing", hidden, "unset them, or name the cards to use: its models are hopeless on a CPU")]
        return [Finding("gpu", "ok", f"{hidden}; what follows from that is below")]  # the requirements name the models
    found = []
    for name in dict.fromkeys(card.name for card in cards.visible):
        card, *others = [card for card in cards.visible if card.name == name]
        size = f"{card.total / 1024:.1f} GiB" if card.total is not None else "memory unknown"
        what = f"{1 + len(others)} x {name}, {card.sm}, {size}{' (cut into MIG slices)' if card.mig else ''}, driver {show_version(card.driver)}"
        if card.capability is None and not idle:
            remedy = "this driver's nvidia-smi does not tell the capability; `make doctor` tries the card once environments are made"
            found.append(Finding("gpu", "warning", what, remedy))
        else:
            found.append(Finding("gpu", "ok", what))
    reasons = why_not(cards.visible, envs, settings.stack)
    if idle:
        found.append(Finding("gpu", "ok", f"none of them is used: '{definition.name}' runs on the CPU"))
        return found
    if reasons:
        found += [Finding("gpu", "missing", reason, what_instead(cards.visible, envs, settings.stack)) for reason in reasons]
    else:
        them = "it" if len(cards.visible) == 1 else "all of them"
        found.append(Finding("gpu", "ok", f"PyTorch and CUDA of the {settings.stack} stack run on {them}: {', '.join(envs)}"))
    if processes > len(cards.visible):
        remedy = f"GPUS={len(cards.visible)}: each process needs a card of its own"
        found.append(Finding("gpu", "missing", f"GPUS={processes}, and {len(cards.visible)} visible", remedy))
    return found


def stack_to_use(definition: Definition, wanted: str, envs: Sequence[str], cards: Cards) -> str:
    """Return which stack to use, and why where it is another than the one asked for."""
    if needs_card(definition) and not cards.visible:
        return f"STACK={wanted}: `paper` runs on cards of SM 7.0 to 8.9 (V100, A100, L40S), `current` on SM 7.0 to 12.0 (H100, B200 and RTX 50, too)."
    if runs_on_cpu(definition) or not cards.visible:
        return f"STACK={wanted}: on a CPU either stack runs, and `paper` has the paper's versions."
    stack = choose_stack(cards.visible, envs, wanted)
    if stack == wanted:
        return f"STACK={wanted}: it has code for what is here ({', '.join(dict.fromkeys(card.sm for card in cards.visible))})."
    reason = why_not(cards.visible, envs, wanted)[0]
    return f"STACK={stack}: {reason}." if stack else f"No stack runs on all cards: {reason}."
