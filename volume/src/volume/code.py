"""The version of a stage's code: one hash over the modules that it can reach by import.

Whole-repository hashes would rerun the sampler because a colour changed in the report. So the imports are followed, from
source, without executing anything: the host can do it for packages whose PyTorch it does not have.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path

from volume.files import sha256_bytes, sha256_value

PACKAGES = {"fsenv": "factscoring", "csenv": "confscoring", "dpo": "dpo"}
_CHECKOUT = Path(__file__).resolve().parents[3]

# They decide what runs and when, never what a stage writes: a change in them makes nothing stale.
_ORCHESTRATION = {
    f"volume.{name}"
    for name in (
        "stage", "context", "journal", "step", "steps", "policy_steps", "pipeline", "plan", "progress", "manifest", "settings",
        "training_settings", "datasets", "errors", "code",
        "requirements", "checksums", "definition_faults", "policy_faults", "evidence", "llm.limits", "llm.service", "llm.turn", "llm.asking", "llm.client",
        "topics", "machine", "origin", "chain", "chain_text", "provenance", "crate", "crate_graph", "status",
        "ranks", "peers", "groups", "command", "choosing", "runner", "holding", "variables", "clean",
    )
}  # fmt: skip


def code_version(module: str) -> str:
    """Return the SHA-256 over the sources of ``module`` and of what it imports from this project.

    Args:
        module: A stage module such as ``confscoring.answers``. A module that does not exist yet gives the hash of nothing.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name in _ORCHESTRATION:
            continue
        path = _source(name)
        if path is None:
            continue
        digest, imports = _read(path, path.stat().st_mtime_ns)
        seen[name] = digest
        waiting.extend(imports)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    if module == "confscoring.topics":  # the rule by which topics are dealt and the lists that come with the project: nothing else is made of them
        own = Path(__file__).parent
        seen |= {path.name: sha256_bytes(path.read_bytes()) for path in (own / "topics.py", *sorted((own / "datasets").glob("*.csv")))}
    return sha256_value(seen)


@lru_cache(maxsize=None)
def _read(path: Path, _mtime: int) -> tuple[str, tuple[str, ...]]:
    source = path.read_bytes()
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = ("volume", *PACKAGES.values())
    return sha256_bytes(source), tuple(name for name in names if name.split(".")[0] in ours)


@lru_cache(maxsize=None)
def _source(name: str) -> Path | None:
    """Return the file of a module of this project: from the checkout, else from where the package is installed."""
    package, *rest = name.split(".")
    root = _package_folder(package)
    if root is None:
        return None
    path = root.joinpath(*rest)
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@lru_cache(maxsize=None)
def _package_folder(package: str) -> Path | None:
    for env, known in {"volume": "volume", **PACKAGES}.items():
        folder = _CHECKOUT / env / "src" / package
        if known == package and folder.is_dir():
            return folder
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def lock_version(env: str, stack: str) -> str:
    """Return the SHA-256 of an environment's lock, or "" where there is no checkout (the engine says it then)."""
    lock = _CHECKOUT / env / "locks" / f"{stack}.txt"
    return sha256_bytes(lock.read_bytes()) if lock.is_file() else ""
