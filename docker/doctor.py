"""Says whether this host can run a dataset: engine, cards, memory, disk, ports, files and keys, each with a remedy where it cannot.

    python3 docker/doctor.py --dataset bio --data-dir data --gpus 2

It makes nothing and downloads nothing. Environment: ENGINE, STACK, ENVS as for docker/engine.py. Exit status: 0, warnings or not;
2 where something that the dataset needs is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "volume" / "src"))

from checks.basics import Finding  # noqa: E402
from checks.cards import Cards, look_at_cards  # noqa: E402
from checks.engines import Engine, choose_engine, environments_made, find_store, judge_engines, judge_environments, look_at_engines, passes_cards  # noqa: E402  # fmt: skip
from checks.inside import probe, what_passes_cards, write_inside  # noqa: E402
from checks.machine import host_memory, judge_machine  # noqa: E402
from checks.needs import judge_memory, judge_requirements, judge_servers, runs_on_cpu, volume_gib  # noqa: E402
from checks.places import Need, judge_disks, judge_loopback, judge_shared_memory, judge_writing, write_once  # noqa: E402
from checks.stack import judge_cards, stack_to_use  # noqa: E402
from common import ENGINES, STACKS, EngineError, Settings  # noqa: E402
from preflight import room_for  # noqa: E402

from volume.choosing import choose_steps  # noqa: E402
from volume.datasets import add_world_arguments, load_definition  # noqa: E402
from volume.errors import COMPLETE, USAGE, UsageError, tell_errors  # noqa: E402
from volume.paths import DatasetPaths  # noqa: E402
from volume.requirements import missing_requirements  # noqa: E402
from volume.runner import count_jobs  # noqa: E402
from volume.settings import Definition, Mode  # noqa: E402
from volume.step import Step  # noqa: E402
from volume.steps import asks_service, build_steps  # noqa: E402

GROUPS = {
    "machine": "Machine", "engine": "Engine and environments", "gpu": "GPU", "memory": "Memory", "disk": "Disk", "ports": "Ports", "dataset": "Files, models, keys",
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="docker/doctor.py", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--gpus", type=int, default=1, help="processes of a step that runs or trains a model")
    parser.add_argument("--llm-mode", choices=get_args(Mode), default="record", help="how a service may be asked; replay needs no key")
    parser.add_argument("--probe", action="store_true", help="calculate inside the environments, even where no GPU is used")
    given = parser.parse_args(argv)
    return tell_errors(lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    wanted, stack = os.environ.get("ENGINE") or "auto", os.environ.get("STACK") or "paper"
    if wanted not in ("auto", *ENGINES):
        raise UsageError(f"ENGINE={wanted}: expected auto, {', '.join(ENGINES)}.")
    if stack not in STACKS:
        raise UsageError(f"STACK={stack}: expected {' or '.join(STACKS)}.")
    if given.gpus < 1:
        raise UsageError(f"GPUS={given.gpus}: expected the number of processes of a step that runs or trains a model, 1 or more.")
    definition = load_definition(given.dataset, given.seed, given.scale)
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(look_at_engines), pool.submit(look_at_cards, os.environ)
        engines, cards = asked[0].result(), asked[1].result()
    root, data = Path(__file__).resolve().parent.parent, given.data_dir.resolve()
    envs = Path(os.environ.get("ENVS") or root / ".envs").resolve()
    settings = Settings(choose_engine(wanted, engines), stack, root, data, envs)
    steps = list(choose_steps(build_steps(definition, DatasetPaths(data / f"dataset_{definition.name}"), data), definition, "report").values())
    try:
        found = check_all(given, definition, settings, wanted, engines, cards, steps)
    except EngineError as error:  # a lock that is not there
        raise UsageError(str(error)) from error
    show(found, definition)
    print(f"\n{verdict(found, definition, settings, cards, sorted({step.env for step in steps}))}")
    return USAGE if any(finding.mark == "missing" for finding in found) else COMPLETE


def check_all(
    given: argparse.Namespace, definition: Definition, settings: Settings, wanted: str, engines: dict[str, Engine], cards: Cards, steps: list[Step]
) -> list[Finding]:
    """Look at everything and return what was found."""
    envs = sorted({step.env for step in steps})
    engine = engines.get(settings.engine)
    works = engine is None or engine.works
    made = environments_made(settings, envs) if works else []
    left = [env for env in envs if env not in made]
    builds = any(engines[name].works for name in ("docker", "podman"))
    used = [] if runs_on_cpu(definition) else list(cards.visible)

    found = judge_machine(settings.root, settings.engine == "venv", definition.device == "portable")
    found += judge_engines(wanted, engines)
    found += judge_environments(settings, envs, made, room_for(left), builds) if works else []
    found += judge_cards(definition, settings, envs, cards, given.gpus)
    if used and engine is not None and works and not passes_cards(engine):
        what = f"no sign of NVIDIA's toolkit, by which {engine.name} passes cards into containers"
        found.append(Finding("gpu", "warning", what, what_passes_cards(engine.name)))
    if given.probe or (used and not any(finding.group == "gpu" and finding.mark == "missing" for finding in found)):
        found += [finding for env in made for finding in probe(settings, env, len(used))]
    found += judge_memory(definition, used, given.gpus, count_jobs(None, given.gpus, definition.device), *host_memory())
    found += judge_shared_memory(given.gpus, settings.engine)
    found += check_disk(definition, settings, engine, made, left)
    found += judge_servers(definition, given.llm_mode != "replay" and any(asks_service(step, definition) for step in steps))
    found += judge_loopback(given.gpus, os.environ)
    paths = DatasetPaths(settings.data / f"dataset_{definition.name}")
    return [*found, *judge_requirements(missing_requirements(definition, paths, settings.data, steps, given.llm_mode))]


def check_disk(definition: Definition, settings: Settings, engine: Engine | None, made: Sequence[str], left: Sequence[str]) -> list[Finding]:
    """Look at the disks, and write on the volume as a stage would."""
    needs = [Need("the volume", settings.data, volume_gib(definition, settings.data))]
    store = find_store(settings, engine)
    if store is not None and (engine is None or engine.works) and settings.engine != "apptainer":
        needs.append(Need("environments" if settings.engine == "venv" else f"{settings.engine}'s images", store, room_for(list(left))))
    found = judge_disks(needs)
    if store is None:
        found.append(Finding("disk", "ok", f"{settings.engine} keeps its images elsewhere than on this host; nothing was looked at there"))
    written = write_once(settings.data)
    found += judge_writing(settings.data, written)
    if not written.fault and made and settings.engine in ("docker", "podman") and settings.data.is_dir():
        found += write_inside(settings, made[0])
    return found


def verdict(found: Sequence[Finding], definition: Definition, settings: Settings, cards: Cards, envs: Sequence[str]) -> str:
    """Return the last line: whether it can be run, and with which stack."""
    missing = sum(finding.mark == "missing" for finding in found)
    warnings = sum(finding.mark == "warning" for finding in found)
    said = f"Not ready: {missing} missing" if missing else f"Ready for '{definition.name}' with ENGINE={settings.engine}"
    return f"{said}, {warnings} warning(s). {stack_to_use(definition, settings.stack, envs, cards)}"


def show(found: Sequence[Finding], definition: Definition) -> None:
    """Print the findings by group, each remedy below what it mends."""
    print(f"{definition.name}: {definition.description}")
    for group, title in GROUPS.items():
        findings = [finding for finding in found if finding.group == group]
        if findings:
            print(f"\n{title}")
        for finding in findings:
            print(f"  {finding.mark:8} {finding.what}")
            if finding.remedy and finding.mark != "ok":
                print(f"           remedy: {finding.remedy}")


if __name__ == "__main__":
    raise SystemExit(main())
