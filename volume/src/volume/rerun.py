"""Makes the results of a bundle again, without network or key, and says file by file whether they are the same.

    python -m volume.rerun bundle-bio.tar.gz --data-dir rerun-bio

Every byte of the archive is checked on the way in. The calls are replayed, so no stage gets the network: what is not recorded
is an error that names the call. Exit status: 0 all files are the same, 1 some differ or the run failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volume import pipeline
from volume.archive import INDEX, Archive
from volume.bundle import CALLS, FORMAT
from volume.code import code_version, lock_version
from volume.comparison import compare_outputs, tell_gap
from volume.datasets import as_json, load_definition
from volume.errors import COMPLETE, FAILED, PARTIAL, RecordError, UsageError, tell_errors
from volume.files import FileHashes, canonical_json, hold_alone, write_bytes, write_json
from volume.llm.transfer import import_calls
from volume.manifest import manifest_digest, read_manifest
from volume.paths import DatasetPaths
from volume.requirements import API_KEY, COMPLETIONS_KEY, KEY_FILE

_ROOT = Path(__file__).resolve().parents[3]
_SHOWN = 3  # names of files that differ; the rest are counted
_PARTS = {
    "dataset": str, "goal": str, "definition": str, "command": dict, "stack": str, "git_commits": list, "locks": dict, "without": list, "left_out": dict,
    "given": list, "calls": int, "steps": dict, "members": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Rerun:
    """A bundle on a volume of its own. Attributes: id, of the bundle; index, what it says of itself; kept, where its own files lie."""

    id: str
    index: dict[str, Any]
    data_dir: Path

    @property
    def kept(self) -> Path:
        return self.data_dir / "bundle"

    @property
    def paths(self) -> DatasetPaths:
        return DatasetPaths(self.data_dir / f"dataset_{self.index['dataset']}")

    @property
    def definition(self) -> Path:
        return self.data_dir / "definitions" / str(self.index["definition"])

    def place(self, member: str) -> Path:
        """Return where a member goes."""
        return self.data_dir / member.removeprefix("volume/") if member.startswith("volume/") else self.kept / member


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m volume.rerun", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="the archive that `make bundle` wrote")
    parser.add_argument("--data-dir", type=Path, help="a folder for it, default rerun-<dataset>")
    parser.add_argument("--stack", help="another stack than the bundle's")
    parser.add_argument("--jobs", type=int, help="steps side by side")
    parser.add_argument("--gpus", type=int, help="processes of a step that runs or trains a model")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return tell_errors(lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    with Archive(given.bundle) as archive:
        index = archive.index
        if index.get("format") != FORMAT:
            made = f"It was made at commit {index.get('git_commits')}: rerun it there."
            raise UsageError(f"{given.bundle} is of format {index.get('format')}, expected {FORMAT}. {made}")
        _check_index(index, given.bundle)
        rerun = Rerun(archive.id, index, (given.data_dir or Path(f"rerun-{index['dataset']}")).resolve())
        stack = given.stack or index["stack"]
        print(f"bundle {rerun.id[:16]}: {index['dataset']} up to {index['goal']}, {len(index['steps'])} steps, stack {index['stack']}; into {rerun.data_dir}", flush=True)
        _check_folder(rerun, given.bundle)
        rerun.data_dir.mkdir(parents=True, exist_ok=True)
        with hold_alone(rerun.data_dir / ".rerun.lock", f"{rerun.data_dir}: another rerun is at work in it. Wait for it, or set DATA to another folder."):
            _unpack(rerun, archive)
            os.environ["STACK"] = stack
            changes = _find_changes(rerun, stack)
            _tell_given(rerun)
            for name in (API_KEY, KEY_FILE, COMPLETIONS_KEY):
                os.environ.pop(name, None)
            status = pipeline.main(_command(rerun, given))
            if status not in (COMPLETE, PARTIAL):
                print("error: the rerun did not come to its end (see above), so nothing is compared. Run the same command again to go on from there.", file=sys.stderr)
                return status
            return _compare(rerun, changes)


def _check_index(index: dict[str, Any], bundle: Path) -> None:
    """Refuse an index that lacks something, or names files that would lie outside the rerun's folder."""
    wrong = [part for part, kind in _PARTS.items() if not isinstance(index.get(part), kind)]
    wrong += [part for part in ("dataset", "definition") if not wrong and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", index[part])]
    if wrong:
        raise RecordError(f"{bundle} is no bundle: {', '.join(wrong)} in its index is not what a bundle has there. Get it anew.")


def _check_folder(rerun: Rerun, bundle: Path) -> None:
    """Refuse a folder that holds anything but this very rerun."""
    folder = rerun.data_dir
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"DATA={folder} is a file; expected a folder, new or empty.")
    if not folder.exists() or not any(path.name != ".rerun.lock" for path in folder.iterdir()):
        missing = sum(member["bytes"] for member in rerun.index["members"].values())
        free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
        if missing > free:
            raise UsageError(f"{bundle} unpacks to {missing / 2**30:.1f} GiB, and {free / 2**30:.1f} are free for {folder}. Set DATA to a folder on another disk.")
        return
    mark = rerun.kept / INDEX
    if not mark.exists():
        raise UsageError(f"DATA={folder} holds other things. A rerun needs a folder of its own: name one that is new or empty.")
    if mark.read_bytes() != canonical_json(rerun.index).encode():
        raise UsageError(f"DATA={folder} holds the rerun of another bundle. Name another folder, or delete this one.")


def _unpack(rerun: Rerun, archive: Archive) -> None:
    """Put every member in its place, each checked; what an interrupted rerun has put there stays."""
    members = rerun.index["members"]
    hashes = FileHashes(rerun.kept / ".hashes.json")
    write_json(rerun.kept / INDEX, rerun.index)
    here = {name for name, member in members.items() if hashes.of(rerun.place(name)) == member["sha256"]}
    if len(here) < len(members):
        archive.unpack(rerun.place, here, rerun.kept / ".partial")
        print(f"unpacked {len(members)} files; each has the SHA-256 that the bundle names", flush=True)
    hashes.save()
    write_bytes(rerun.definition, (rerun.kept / rerun.index["definition"]).read_bytes())
    if rerun.index["calls"]:
        import_calls(rerun.data_dir / "llm_calls.sqlite", rerun.kept / CALLS)
    for name in rerun.index["given"]:
        manifest = json.loads((rerun.kept / "manifests" / f"{name}.json").read_text(encoding="utf-8"))
        manifest["given"] = {"bundle": rerun.id, "left_out": sorted(rerun.index["left_out"])}
        write_json(rerun.paths.manifest(name), {**manifest, "digest": manifest_digest(manifest)})


def _find_changes(rerun: Rerun, stack: str) -> list[str]:
    """Print how this checkout differs from what the bundle was made with; return it, in a few words each."""
    index, command = rerun.index, rerun.index["command"]
    changes = []
    code = [name for name, step in index["steps"].items() if code_version(step["module"]) != step["code"]]
    if code:
        changes.append(f"code of {_some(code)}")
    locks = [env for env, digest in index["locks"].items() if lock_version(env, stack) != digest]
    if locks:
        changes.append(f"lock of {_some(locks)}" + (f" (stack {stack} in place of {index['stack']})" if stack != index["stack"] else ""))
    before = json.loads((rerun.kept / "definition.json").read_text(encoding="utf-8"))
    now = as_json(load_definition(str(rerun.definition), command["seed"], command["scale"]))
    sections = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if sections:
        changes.append(f"how this checkout reads the definition ({_some(sections)})")
    commits = ", ".join(commit[:12] + commit[40:] for commit in index["git_commits"] if commit) or "none noted"
    said = f"differ: {'; '.join(changes)}" if changes else "the same"
    print(f"code, locks and definition: {said} (commit there {commits}, here {_git_commit() or 'none'})", flush=True)
    return changes


def _git_commit() -> str:
    try:
        command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _tell_given(rerun: Rerun) -> None:
    if rerun.index["given"]:
        print(f"{', '.join(rerun.index['given'])}: taken from the bundle; what they read ({' and '.join(rerun.index['without'])}) is not in it", flush=True)


def _command(rerun: Rerun, given: argparse.Namespace) -> list[str]:
    command = [rerun.index["goal"], "--dataset", str(rerun.definition), "--data-dir", str(rerun.data_dir), "--llm-mode", "replay"]
    options = {**rerun.index["command"], "jobs": given.jobs, "gpus": given.gpus}
    for name, value in options.items():
        if value not in (None, ""):
            command += [f"--{name}", f"{value}"]
    return command


def _compare(rerun: Rerun, changes: list[str]) -> int:
    """Print what is the same and what is not; return the exit status."""
    hashes = FileHashes(rerun.kept / ".hashes.json")
    total = same = 0
    apart: dict[str, int] = {}
    print("outputs, against the bundle's:")
    for name, step in rerun.index["steps"].items():
        if name in rerun.index["given"]:
            print(f"  {name:24} {len(step['outputs']):5} files given")
            continue
        made = (read_manifest(rerun.paths, name) or {}).get("outputs", {})
        found = compare_outputs(step["outputs"], {path: hashes.of(rerun.data_dir / path) for path in {**step["outputs"], **made}})
        said = [f"{len(paths)} {word}: {_some([Path(path).name for path in paths])}"
                for word, paths in (("differ", found.differing), ("missing", found.missing), ("more than there", found.further)) if paths]  # fmt: skip
        print(f"  {name:24} {found.same:5} files same" + "".join(f"; {part}" for part in said))
        for path in found.differing:
            gap = tell_gap(rerun.kept / "results" / path, rerun.data_dir / path)
            if gap:
                print(f"  {'':24}       {Path(path).name}: {gap}")
        total, same = total + len({**step["outputs"], **made}), same + found.same
        if not found.equal:
            apart[name] = len(found.differing) + len(found.missing) + len(found.further)
    given = f" {len(rerun.index['given'])} of the {len(rerun.index['steps'])} steps were taken as given." if rerun.index["given"] else ""
    under = f" What differs from the bundle: {'; '.join(changes)}." if changes else " Code, locks and definition are the bundle's."
    if apart:
        where = _some([f"{name} {number}" for name, number in apart.items()])
        print(f"verdict: DIFFERENT. {total - same:,} of {total:,} files are not the same ({where}).{given}{under}")
        return FAILED
    print(f"verdict: SAME. All {total:,} files that were made again are the same, byte for byte.{given}{under}")
    return COMPLETE


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


if __name__ == "__main__":
    raise SystemExit(main())
