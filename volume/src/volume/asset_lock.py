"""What was fetched into a volume, and what every file of it must go on being: DATA/assets.lock.json.

The first fetch writes an asset's revision and its files' sizes and SHA-256; every later fetch and check holds the files to them. The
file can be handed on: on another volume it pins what the first one got. Digests of large files are remembered by size, inode and
time in DATA/cache/asset_digests.json, which may be lost without harm.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from volume.asset_list import Asset, Known, is_below
from volume.downloads import digest_file
from volume.errors import RecordError, VolumeError
from volume.files import write_json

_NAME = "assets.lock.json"


class AssetLock:
    """The record of a volume's assets.

    Raises:
        RecordError: The record is damaged.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / _NAME
        self._digests_path = data_dir / "cache" / "asset_digests.json"
        self._entries: dict[str, Any] = self._read()
        self._digests = _read_cache(self._digests_path)

    def _read(self) -> dict[str, Any]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
            for entry in entries.values():
                if not isinstance(entry["revision"], str) or not all(is_below(name) for name in entry["files"]):
                    raise ValueError("a path leads out of the volume")
                for known in entry["files"].values():
                    Known(**known)
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            told = f"{self.path} is damaged ({type(error).__name__}: {error}). Put it back from a backup, or delete it to have all recorded anew."
            raise RecordError(told) from error
        return dict(entries)

    def files(self, asset: Asset) -> dict[str, Known] | None:
        """Return what an asset's files must be; None where that is not recorded, or of another revision than the list pins."""
        entry = self._entries.get(asset.dest)
        if entry is None or entry["source"] != asset.source or asset.revision not in ("", entry["revision"]):
            return None
        return {name: Known(**known) for name, known in entry["files"].items()}

    def revision(self, asset: Asset) -> str:
        """Return the revision that was fetched, or is pinned; "" where nothing says it."""
        return str(self._entries[asset.dest]["revision"]) if self.files(asset) is not None else asset.revision

    def record(self, asset: Asset, revision: str, files: dict[str, Known]) -> None:
        """Write down what an asset's files are."""
        entry = {name: {"size": known.size, "sha256": known.sha256, "blob": known.blob} for name, known in sorted(files.items())}
        self._entries[asset.dest] = {"name": asset.name, "source": asset.source, "revision": revision, "files": entry}
        write_json(self.path, dict(sorted(self._entries.items())))

    def digest(self, path: Path) -> Known | None:
        """Return what a file is, from memory if it has not changed since; None where there is none."""
        try:
            stat = path.stat()
        except OSError:
            return None
        known = self._digests.get(str(path))
        if known and known[:3] == [stat.st_size, stat.st_ino, stat.st_mtime_ns]:
            return Known(stat.st_size, known[3], known[4])
        found = digest_file(path)
        self.remember(path, found)
        return found

    def remember(self, path: Path, found: Known) -> None:
        """Keep what a file was just seen to be."""
        stat = path.stat()
        self._digests[str(path)] = [stat.st_size, stat.st_ino, stat.st_mtime_ns, found.sha256, found.blob]
        try:
            write_json(self._digests_path, self._digests)
        except VolumeError:  # a cache: the file is read once more next time
            return


def _read_cache(path: Path) -> dict[str, list[Any]]:
    try:
        return {str(name): list(entry) for name, entry in json.loads(path.read_text(encoding="utf-8")).items() if len(entry) == 5}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
