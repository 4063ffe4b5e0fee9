"""Getting one asset: which of its files are missing, whether the disk holds them, and how each kind is fetched or made."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from volume.asset_list import Asset, Known
from volume.asset_lock import AssetLock
from volume.downloads import Patience, RefusedError, Remote, differs, fetch, part_of
from volume.errors import UsageError, VolumeError
from volume.hub import Hub, choose_files
from volume.progress import Progress
from volume.public_prompts import import_prompts

ROOT = Path(__file__).resolve().parents[3]
_MIB, _GIB = 2**20, 2**30


@dataclass
class State:
    """How an asset stands. Attributes: missing and wrong, of its files; unknown, where the hub must first be asked what its files are."""

    files: dict[str, Known]
    missing: list[str]
    wrong: list[str]
    unknown: bool = False

    @property
    def ok(self) -> bool:
        return not (self.missing or self.wrong or self.unknown)


def look(asset: Asset, data_dir: Path, lock: AssetLock) -> State:
    """Return how an asset stands, without any network."""
    folder = data_dir / asset.dest
    files = lock.files(asset)
    if asset.kind == "file":
        known = (files or {}).get(folder.name) or asset.known.get(folder.name, Known())
        return _compare({folder.name: known}, folder.parent, lock)
    if files is None:
        model = asset.kind in ("hub", "difference")
        there = asset.kind != "checkout" and (folder / "config.json" if model else folder).exists()
        if not there:
            return State({}, ["all of it"], [], unknown=model)
        state = _compare(asset.known if asset.kind == "hub" else {}, folder, lock)
        return State(state.files, state.missing, state.wrong, unknown=model)  # put there by hand, or killed before it was recorded
    return _compare({name: _both(known, asset.known.get(name)) for name, known in files.items()}, folder, lock)


def _both(recorded: Known, pinned: Known | None) -> Known:
    """Return what is known of a file, where the list's pin has the last word."""
    return dataclasses.replace(recorded, sha256=pinned.sha256 or recorded.sha256, size=pinned.size or recorded.size) if pinned else recorded


def _compare(files: dict[str, Known], folder: Path, lock: AssetLock) -> State:
    state = State(files, [], [])
    for name, known in files.items():
        found = lock.digest(folder / name)
        if found is None:
            state.missing.append(name)
        elif fault := differs(found, known):
            state.wrong.append(f"{folder / name}: {fault}")
    return state


@dataclass
class Fetcher:
    """Fetches assets into a volume. Attributes: checkout, of the public code, or None."""

    data_dir: Path
    lock: AssetLock
    hub: Hub
    patience: Patience
    checkout: Path | None = None

    def resolve(self, asset: Asset, state: State) -> State:
        """Return how an asset stands once the hub has said what its files are; they are recorded.

        Raises:
            VolumeError: The hub does not say it, or says something else than the list pins.
        """
        if asset.kind != "hub" or not state.unknown:
            return state
        commit = self.hub.resolve(asset.source, asset.revision)
        files = choose_files(self.hub.list_files(asset.source, commit), asset.files)
        if not files:
            raise VolumeError(f"{asset.source} at {commit} has none of {', '.join(asset.files)}; nothing was fetched.")
        for name, pinned in asset.known.items():
            fault = differs(files.get(name, Known()), pinned) if name in files else "is not there"
            if fault:
                raise VolumeError(f"{asset.source} at {commit}: {name} {fault} by the list. Nothing of it was fetched.")
        self.lock.record(asset, commit, {name: _both(known, asset.known.get(name)) for name, known in files.items()})
        return look(asset, self.data_dir, self.lock)

    def needed(self, asset: Asset, state: State) -> int:
        """Return how many bytes an asset will still take."""
        if asset.kind in ("checkout", "own") or state.ok:
            return 0
        if asset.kind == "hub":
            return sum(max(0, (state.files[name].size or 0) - part_of(self.data_dir / asset.dest / name).size) for name in state.missing)
        if asset.kind == "archive":
            return 4 * (asset.known.get("archive", Known()).size or asset.about)
        known = asset.known.get(Path(asset.dest).name, Known()).size or asset.about
        return max(0, known - (part_of(self.data_dir / asset.dest).size if asset.kind == "file" else 0))

    def check_disk(self, bytes_needed: int) -> None:
        """Check that the disk holds what is to come.

        Raises:
            UsageError: It does not.
        """
        free = shutil.disk_usage(self.data_dir).free
        if bytes_needed > free:
            raise UsageError(
                f"{self.data_dir} has {free / _GIB:,.1f} GiB free, and what is missing takes {bytes_needed / _GIB:,.1f} GiB. "
                "Free some space, or set DATA to a folder on another disk. Nothing was fetched."
            )

    def get(self, asset: Asset, state: State) -> None:
        """Fetch or make what is missing of an asset, and record it.

        Raises:
            VolumeError: It cannot be had; what has come so far is kept.
        """
        if state.wrong:
            raise VolumeError("; ".join(state.wrong) + ". Move what is wrong away, and run this again to have it fetched anew.")
        if asset.kind == "hub":
            self._get_model(asset, state)
        elif asset.kind == "file":
            self._get_file(asset, state)
        elif asset.kind == "archive":
            self._get_archive(asset)
        elif asset.kind == "difference":
            self._build(asset)
        elif asset.kind == "checkout":
            self._import(asset)
        else:
            raise UsageError(f"{asset.dest}: {asset.source}. Remedy: {asset.instead}.")

    def _get_model(self, asset: Asset, state: State) -> None:
        folder = self.data_dir / asset.dest
        commit = self.lock.revision(asset)
        files = dict(state.files)
        for name in state.missing:
            files[name] = self._fetch(self.hub.remote(asset.source, commit, name, files[name]), folder / name, f"{asset.dest}/{name}")
        for name in files:
            files[name] = self.lock.digest(folder / name) or files[name]
        self.lock.record(asset, commit, files)

    def _get_file(self, asset: Asset, state: State) -> None:
        target = self.data_dir / asset.dest
        found = self._first(asset, state.files[target.name], target) if state.missing else self.lock.digest(target)
        if found is not None:
            self.lock.record(asset, asset.revision, {target.name: found})

    def _get_archive(self, asset: Asset) -> None:
        target = self.data_dir / asset.dest
        archive = self.data_dir / "cache" / "assets" / f"{asset.name}.zip"
        known = asset.known.get("archive", Known())
        if archive.exists() and differs(self.lock.digest(archive) or Known(), known):
            archive.unlink()
        if not archive.exists():
            self._first(asset, known, archive)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            try:
                with zipfile.ZipFile(archive) as opened:
                    members = [name for name in opened.namelist() if name.startswith(f"{asset.inside}/")]
                    opened.extractall(scratch, members)
            except zipfile.BadZipFile as error:
                archive.unlink()
                raise VolumeError(f"{asset.source}: what came is no zip file ({error}). It was deleted; run this again.") from error
            if not members:
                raise VolumeError(f"{archive} has no folder {asset.inside}.")
            os.replace(Path(scratch) / asset.inside, target)
        archive.unlink()
        files = {str(path.relative_to(target)): self.lock.digest(path) or Known() for path in sorted(target.rglob("*")) if path.is_file()}
        self.lock.record(asset, asset.revision, files)

    def _build(self, asset: Asset) -> None:
        """Add a difference to its base, in the environment that has the libraries for it."""
        target = self.data_dir / asset.dest
        if not (target / "config.json").exists():
            arguments = {"--base": asset.base, "--difference": asset.difference, "--output": asset.dest}
            command = ["python", "-m", "factscoring.recover_model"]
            for option, path in arguments.items():
                command += [option, f"@data/{path}"]
            engine = [sys.executable, str(ROOT / "docker" / "engine.py"), "run", "fsenv", "--network", "none", "--device", "cpu", "--name", asset.name, "--"]
            # Not the token: what runs there has no use for it.
            environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_TOKEN")}
            done = subprocess.run([*engine, *command], env={**environment, "DATA": str(self.data_dir)}, check=False)
            if done.returncode != 0:
                raise VolumeError(f"{asset.dest} could not be built (exit status {done.returncode}; see above). What it is built from is kept; run this again.")
        files = {path.name: self.lock.digest(path) or Known() for path in sorted(target.iterdir()) if path.is_file()}
        self.lock.record(asset, asset.revision, files)

    def _import(self, asset: Asset) -> None:
        if self.checkout is None:
            raise UsageError(f"they are read from a checkout: git clone {asset.source} FOLDER, git -C FOLDER checkout {asset.revision}, then ARGS='--checkout FOLDER'")
        written = import_prompts(self.checkout, self.data_dir, asset.revision)
        for path in written:
            print(f"  wrote {path}", flush=True)
        self.lock.record(asset, asset.revision, {path.name: self.lock.digest(path) or Known() for path in written if path.parent == self.data_dir / asset.dest})

    def _first(self, asset: Asset, known: Known, target: Path) -> Known:
        """Fetch a file from the first of its addresses that hands it out."""
        refused: VolumeError = UsageError(f"{asset.source}: the list names no address of it.")
        for address in asset.addresses:
            try:
                return self._fetch(Remote(address, known, begins=asset.begins), target, asset.dest)
            except RefusedError as error:
                refused = error
        raise refused

    def _fetch(self, remote: Remote, target: Path, label: str) -> Known:
        size = remote.known.size
        print(f"  {label}: {f'{size / _MIB:,.1f} MiB' if size is not None else 'size not known'}", flush=True)
        have = part_of(target).size
        with Progress(label, have // _MIB, max(1, (size or 0) // _MIB), lambda line: print(f"  {label}: {line}", flush=True), unit="MiB") as progress:
            found = fetch(remote, target, self.patience, lambda done, _: progress.show(done // _MIB))
        self.lock.remember(target, found)
        return found
