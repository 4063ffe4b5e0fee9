"""One archive of all that a goal's results come from, so that they can be made again elsewhere, without network or key (volume.rerun).

    python -m volume.bundle --dataset bio --data-dir data --file bio.tar.gz
    python -m volume.bundle --dataset bio --data-dir data --file bio.tar.gz --without models

It holds the definition, the files that the goal's steps read and no step makes, the recorded calls, the locks, the manifests,
the checksums of every output, and the figures themselves, to be compared with; nothing that can be made again, no key, no cache.
What is left out by --without is replaced by the outputs of the steps that read it: a rerun takes these as given, and says so.
"""

from __future__ import annotations

import argparse
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volume.archive import Member, scratch_beside, write_archive
from volume.choosing import choose_steps
from volume.code import lock_version
from volume.datasets import DATASETS, add_world_arguments, as_json, load_definition
from volume.errors import COMPLETE, UsageError, suggest, tell_errors
from volume.evidence import knowledge_files, model_folder
from volume.files import canonical_json, sha256_bytes, sha256_file
from volume.llm.transfer import export_calls
from volume.manifest import read_manifest
from volume.paths import DatasetPaths
from volume.plan import make_plan
from volume.settings import Definition
from volume.step import Step
from volume.steps import asks_service, build_steps

FORMAT = 1
GOALS = ("rewards", "report")
KINDS = ("models", "knowledge")  # of inputs, that can be left out
CALLS = "calls.jsonl.gz"
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Source:
    """A dataset whose goal is up to date. Attributes: chosen, the goal's steps; manifests, of these steps."""

    definition: Definition
    paths: DatasetPaths
    data_dir: Path
    chosen: dict[str, Step]
    manifests: dict[str, dict[str, Any]]

    def outputs(self, steps: set[str] | None = None) -> dict[str, str]:
        """Return {path: SHA-256} of what these steps wrote, or all of them."""
        return {path: digest for name, manifest in self.manifests.items() if steps is None or name in steps for path, digest in manifest["outputs"].items()}

    def inputs(self) -> dict[str, str]:
        """Return {path: SHA-256} of what the steps read and none of them makes."""
        made = self.outputs()
        read = {path: digest for manifest in self.manifests.values() for path, digest in manifest["depends_on"]["inputs"].items()}
        return {path: digest for path, digest in sorted(read.items()) if digest is not None and path not in made}

    def kind(self, path: str) -> str:
        """Return what kind of input a file is."""
        full = self.data_dir / path
        if any(full.is_relative_to(model_folder(self.definition, self.paths, self.data_dir, name)) for name in self.definition.models):
            return "models"
        if full in knowledge_files(self.definition, self.paths, self.data_dir):
            return "knowledge"
        return "questions" if full.name.startswith("questions_per_topic_") else "other inputs"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.bundle", description=(__doc__ or "").splitlines()[0])
    add_world_arguments(parser)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="the data volume")
    parser.add_argument("--goal", default="rewards", choices=GOALS, help="what is to be made again")
    parser.add_argument("--limit", type=int, help="as the results were made: only the first N topics")
    parser.add_argument("--runs", default="", help="as the results were made: comma-separated policies, for the goal report")
    parser.add_argument("--file", type=Path, help="the archive, default bundle-<dataset>.tar.gz")
    parser.add_argument("--without", default="", help=f"inputs to leave out, comma-separated: {', '.join(KINDS)}")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing half written stays
    return tell_errors(lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    source = _find_source(given)
    file = (given.file or Path(f"bundle-{source.definition.name}.tar.gz")).absolute()
    left_out = _left_out(given.without, source)
    taken = {name for name, manifest in source.manifests.items() if any(path in left_out for path in manifest["depends_on"]["inputs"])}
    with scratch_beside(file) as scratch:
        calls = _export_calls(source, taken, scratch / CALLS)
        members = _collect(given, source, left_out, taken) + ([Member(CALLS, scratch / CALLS, sha256_file(scratch / CALLS), "recorded calls")] if calls else [])
        index = _index(given, source, left_out, taken, calls)
        _show(given.goal, source, members, taken, left_out, calls)
        name = write_archive(scratch / file.name, f"bundle-{source.definition.name}", index, members)
        size = (scratch / file.name).stat().st_size
        with (scratch / file.name).open("rb") as written:
            os.fsync(written.fileno())
        os.replace(scratch / file.name, file)
    print(f"{file}: {_as_size(size)}, bundle {name[:16]}. Elsewhere: make rerun BUNDLE={file.name}")
    return COMPLETE


def _find_source(given: argparse.Namespace) -> Source:
    """Return the dataset, if its goal is up to date.

    Raises:
        UsageError: Some step would have to run first.
    """
    data_dir = given.data_dir.resolve()
    definition = load_definition(given.dataset, given.seed, given.scale)
    paths = DatasetPaths(data_dir / f"dataset_{definition.name}")
    chosen = choose_steps(build_steps(definition, paths, data_dir), definition, given.goal, given.runs)
    plan = make_plan(chosen, definition, paths, data_dir, given.limit)
    if plan.stale:
        reasons = "\n  ".join(f"{name}: {plan.reasons[name]}" for name in plan.stale)
        raise UsageError(f"{given.goal} of '{definition.name}' is not up to date, so there is nothing to bundle yet. Run `make {given.goal}` first:\n  {reasons}")
    manifests = {name: read_manifest(paths, name) for name in chosen}
    taken = [name for name, manifest in manifests.items() if manifest and "given" in manifest]
    if taken:
        raise UsageError(f"{', '.join(taken)} came with a bundle and cannot be made from what is in {data_dir}. Pass on that bundle itself.")
    return Source(definition, paths, data_dir, chosen, {name: manifest for name, manifest in manifests.items() if manifest})


def _left_out(without: str, source: Source) -> dict[str, str]:
    """Return {path: SHA-256} of the inputs that are to be left out."""
    kinds = [name.strip() for name in without.split(",") if name.strip()]
    left_out: dict[str, str] = {}
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"WITHOUT={without}: '{kind}' cannot be left out.{suggest(kind, KINDS)}")
        own = {path: digest for path, digest in source.inputs().items() if source.kind(path) == kind}
        if not own:
            raise UsageError(f"WITHOUT={without}: '{source.definition.name}' reads no {kind} that its steps do not make themselves. Take '{kind}' out.")
        left_out |= own
    return left_out


def service_models(definition: Definition, steps: list[Step]) -> set[str]:
    """Return the names under which these steps ask a service for models."""
    targets = {step.target for step in steps if asks_service(step, definition)}
    sections = (("factscore", definition.facts), ("factscore", definition.verifier), ("questions", definition.questions), ("rewards", definition.equivalence))
    evaluating = [("eval", definition.facts), ("eval", definition.verifier), *(("eval", judge) for judge in definition.judges.values())]
    names = {section.model for target, section in (*sections, *evaluating) if target in targets and section is not None and section.backend == "llm"}
    for target, settings in (("data", definition.responses), ("answers", definition.answers), ("entities", definition.answers)):
        if target in targets and settings is not None and settings.backend == "openai":
            names.add(settings.served or definition.models[settings.model].source or settings.model)
    return names


def _export_calls(source: Source, taken: set[str], file: Path) -> int:
    """Write the recorded calls of the models that a rerun will ask; return their number."""
    models = service_models(source.definition, [step for name, step in source.chosen.items() if name not in taken])
    store = source.data_dir / "llm_calls.sqlite"
    if not models:
        return 0
    if not store.exists():
        raise UsageError(f"{store} is missing, with the calls to {', '.join(sorted(models))}: without them nothing can be made again. Put it back, or import them.")
    return export_calls(store, file, models)


def _collect(given: argparse.Namespace, source: Source, left_out: dict[str, str], taken: set[str]) -> list[Member]:
    """Return everything but the calls."""
    toml = _definition_file(given.dataset)
    members = [_text(toml.name, toml.read_bytes()), _text("definition.json", canonical_json(as_json(source.definition)).encode())]
    for env in sorted({step.env for step in source.chosen.values()}):
        members.append(_text(f"locks/{env}-{_stack()}.txt", (_ROOT / env / "locks" / f"{_stack()}.txt").read_bytes()))
    members += [_text(f"manifests/{name}.json", source.paths.manifest(name).read_bytes()) for name in source.chosen]
    here = {path: (digest, source.kind(path)) for path, digest in source.inputs().items() if path not in left_out}
    here |= {path: (digest, "given outputs") for path, digest in source.outputs(taken).items()}
    members += [Member(f"volume/{path}", source.data_dir / path, digest, group) for path, (digest, group) in here.items()]
    finals = source.outputs({name for name, step in source.chosen.items() if step.target in ("rewards", "report")})
    for path, digest in finals.items():
        if path.endswith((".json", ".txt")) and path not in here:
            members.append(Member(f"results/{path}", source.data_dir / path, digest, "results to compare with"))
    return members


def _text(name: str, content: bytes) -> Member:
    return Member(name, content, sha256_bytes(content), "definition, locks, manifests")


def _definition_file(dataset: str) -> Path:
    return Path(dataset) if dataset.endswith((".toml", ".csv")) else DATASETS / f"{dataset}.toml"


def _stack() -> str:
    return os.environ.get("FACTTUNE_STACK") or os.environ.get("STACK") or "paper"


def _index(given: argparse.Namespace, source: Source, left_out: dict[str, str], taken: set[str], calls: int) -> dict[str, Any]:
    """Return what the archive says of itself: all of it follows from the volume, so equal volumes give equal bytes."""
    places = [manifest["environment"] for manifest in source.manifests.values()]
    return {
        "format": FORMAT,
        "dataset": source.definition.name,
        "goal": given.goal,
        "definition": _definition_file(given.dataset).name,
        "command": {"seed": given.seed, "scale": given.scale, "limit": given.limit, "runs": given.runs},
        "stack": _stack(),
        "git_commits": sorted({place["git_commit"] for place in places}),
        "engines": sorted({place["engine"] for place in places}),
        "images": {env: sorted({place["image"] for place in places if place["env"] == env}) for env in sorted({place["env"] for place in places})},
        "locks": {env: lock_version(env, _stack()) for env in sorted({step.env for step in source.chosen.values()})},
        "without": sorted({source.kind(path) for path in left_out}),
        "left_out": left_out,
        "given": [name for name in source.chosen if name in taken],
        "calls": calls,
        "steps": {
            name: {"env": step.env, "module": step.module, "code": source.manifests[name]["depends_on"]["code"], "outputs": source.manifests[name]["outputs"]}
            for name, step in source.chosen.items()
        },
    }


def _show(goal: str, source: Source, members: list[Member], taken: set[str], left_out: dict[str, str], calls: int) -> None:
    """Print what goes into the archive, before it is written."""
    print(f"{source.definition.name} up to {goal}: {len(source.chosen)} steps, all up to date. Into the bundle go, before compression:")
    rows = [(group, [member for member in members if member.group == group]) for group in dict.fromkeys(member.group for member in members)]
    for group, own in (*rows, ("in all", members)):
        number = f"{calls:,} calls" if group == "recorded calls" else f"{len(own):,} file" + ("s" if len(own) != 1 else "")
        print(f"  {group:28} {number:>14}  {_as_size(sum(member.size for member in own)):>10}")
    if left_out:
        size = sum((source.data_dir / path).stat().st_size for path in left_out)
        names = ", ".join(name for name in source.chosen if name in taken)
        again = f"the other {len(source.chosen) - len(taken)} steps"
        print(f"  left out: {len(left_out)} files, {_as_size(size)}. A rerun takes {names} as given and makes {again} again.", flush=True)


def _as_size(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


if __name__ == "__main__":
    raise SystemExit(main())
