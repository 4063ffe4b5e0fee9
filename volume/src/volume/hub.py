"""The model hub's API: which files a model has at a revision, and what each of them is.

Its address is HF_ENDPOINT, a token HF_TOKEN or the file that HF_TOKEN_PATH names, as for the hub's own tools. The token goes to
that address alone: not to the host that a file's bytes come from, and into no message, record or log.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote, urlsplit

from volume.asset_list import Known, is_below
from volume.downloads import Patience, Remote, host_of, read_json
from volume.errors import UsageError, VolumeError

ENDPOINT = "https://huggingface.co"
_COMMIT = r"[0-9a-f]{40}"


@dataclass(frozen=True)
class Hub:
    """Attributes: endpoint, its address; token, "" for none."""

    endpoint: str
    token: str = field(repr=False)
    patience: Patience

    def resolve(self, model: str, revision: str) -> str:
        """Return the commit that a revision stands for.

        Raises:
            RefusedError: The hub does not hand the model out, or has no such model.
        """
        if re.fullmatch(_COMMIT, revision):
            return revision
        answer, _ = read_json(f"{self.endpoint}/api/models/{model}/revision/{quote(revision or 'main', safe='')}", self.token, self.patience)
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str) or not re.fullmatch(_COMMIT, commit):
            raise VolumeError(f"{self.endpoint} names no commit of {model}; expected an answer of the hub's API with a `sha`.")
        return commit

    def list_files(self, model: str, commit: str) -> dict[str, Known]:
        """Return what all files of a model are, by path.

        Raises:
            RefusedError: The hub does not hand the model out, or has no such commit.
        """
        found: dict[str, Known] = {}
        address = f"{self.endpoint}/api/models/{model}/tree/{commit}?recursive=1"
        while address:
            answer, headers = read_json(address, self.token if host_of(address) == host_of(self.endpoint) else "", self.patience)
            try:
                for entry in answer:
                    if entry["type"] == "file":
                        lfs = entry.get("lfs")
                        found[str(entry["path"])] = Known(int(entry["size"]), str(lfs["oid"]).removeprefix("sha256:") if lfs else "", "" if lfs else str(entry["oid"]))
            except (KeyError, TypeError, ValueError) as error:
                raise VolumeError(f"{address} answers in a form that is not known here ({type(error).__name__}: {error}).") from error
            following = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("Link", ""))
            address = following[1] if following else ""
        return found

    def remote(self, model: str, commit: str, path: str, known: Known) -> Remote:
        """Return a file of a model, to be fetched."""
        return Remote(f"{self.endpoint}/{model}/resolve/{commit}/{quote(path)}", known, self.token)


def open_hub(patience: Patience) -> Hub:
    """Return the hub that the environment names.

    Raises:
        UsageError: Its address is none, or the token's file cannot be read.
    """
    endpoint = (os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
    if urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname:
        raise UsageError(f"HF_ENDPOINT={endpoint}: expected the address of a hub, e.g. {ENDPOINT}")
    return Hub(endpoint, _read_token(), patience)


def _read_token() -> str:
    token, path = os.environ.get("HF_TOKEN", "").strip(), os.environ.get("HF_TOKEN_PATH")
    if not token and path:
        try:
            token = Path(path).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"HF_TOKEN_PATH={path} cannot be read ({type(error).__name__}); expected a text file that holds the token alone.") from error
    if not re.fullmatch(r"[!-~]*", token):
        raise UsageError("the hub's token (HF_TOKEN, or the file that HF_TOKEN_PATH names) holds blanks or line breaks; expected the token alone.")
    return token


def choose_files(found: dict[str, Known], patterns: tuple[str, ...]) -> dict[str, Known]:
    """Return the files that a model's folder needs: those that a pattern names, and weights in one form, safetensors before pickles.

    Raises:
        VolumeError: A path would lead out of the folder.
    """
    chosen = {path: known for path, known in sorted(found.items()) if any(_matches(path, pattern) for pattern in patterns)}
    wrong = [path for path in chosen if not is_below(path)]
    if wrong:
        raise VolumeError(f"the hub lists a file {wrong[0]!r}, which would lie outside of the model's folder; nothing was fetched.")
    if any(path.endswith(".safetensors") and "/" not in path for path in chosen):
        chosen = {path: known for path, known in chosen.items() if not fnmatchcase(path, "pytorch_model*.bin*")}
    return chosen


def _matches(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)
