"""The chain of a file in words: the files asked for, the steps behind them, the sources, what does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

from volume.chain import Book, Chain, Problem, left_out
from volume.files import sha256_value

_SHOWN = 20  # files asked for, problems of one verdict; the number of all is told


def describe_files(book: Book, chain: Chain, hash_of: Callable[[str], str | None]) -> list[str]:
    """Return a line on each file that was asked for, or on all of them."""
    makers = book.makers()
    if len(chain.files) > _SHOWN:
        return [f"{book.folder}: {count_words(len(chain.files), 'file')} and what they are made of", ""]
    return [*(f"{path}  SHA-256 {(hash_of(path) or 'none')[:12]}  made by {makers.get(path, 'no step')}" for path in chain.files), ""]


def describe_steps(book: Book, chain: Chain) -> list[str]:
    """Return the steps of a chain, last first, each with what it read."""
    lines = []
    for number, step in enumerate(chain.steps, start=1):
        manifest = book.manifests[step]
        ran = manifest["environment"]
        command = " ".join(["python -m", *manifest["command"]]) if "command" in manifest else f"in {ran.get('env')}"
        limit = manifest["depends_on"]["settings"].get("limit")
        commit, dirty, _ = str(ran.get("git_commit", "")).partition("-dirty")
        image = str(ran.get("image", "")).rpartition(":")[2][:12]
        gpus = ", ".join(ran.get("gpus") or [])
        lines += [
            f"{number:3}. {step}: {command}{f' --limit {limit}' if limit is not None else ''}",
            f"     {_status(manifest)}; {manifest['finished'].replace('T', ' ').replace('+00:00', ' UTC')}, {manifest['seconds']:.1f} s, "
            f"on {ran.get('processor') or 'an unknown processor'}, {ran.get('cores')} cores{f', {gpus}' if gpus else ''}",
            f"     code {manifest['depends_on']['code'][:12]}, lock {manifest['depends_on']['lock'][:12]}, commit {commit[:12] or 'unknown'}{dirty}, "
            f"{f'image {image}' if image else 'no image'} ({ran.get('engine') or 'no engine'}, {ran.get('stack') or 'unknown'} stack)",
            *_describe_given(manifest),
            *(f"     model {model['name'] or folder}: {_source(model)}, SHA-256 {model['sha256'][:12]}" for folder, model in manifest.get("models", {}).items()),
            *(f"     service {served['service']}: {served['model']} for {section}" for section, served in manifest.get("services", {}).items()),
            *(f"     reads {line}" for line in _describe_reads(book, step)),
        ]
    return [*lines, ""] if lines else []


def describe_sources(book: Book, chain: Chain) -> list[str]:
    """Return what the chain starts from: files that no step makes, and the definition."""
    lines = [f"source {line}" for line in fold(chain.sources, lambda path: "read by " + (", ".join(chain.sources[path][:3]) or "none of these steps"))]
    defined: dict[tuple[str, str, int], int] = {}
    for step in chain.steps:
        definition = book.manifests[step]["definition"]
        key = (str(definition.get("name")), sha256_value(definition)[:12], definition.get("seed", 0))
        defined[key] = defined.get(key, 0) + 1
    for (name, digest, seed), count in defined.items():
        lines.append(f"source definition '{name}', SHA-256 {digest}, seed {seed}: of {count_words(count, 'step')}")
    return [*lines, ""]


def describe_problems(problems: Iterable[Problem]) -> list[str]:
    """Return a line on every problem, sorted by verdict; of many alike the first ones."""
    by_verdict: dict[str, list[Problem]] = {}
    for problem in problems:
        by_verdict.setdefault(problem.verdict, []).append(problem)
    lines = []
    for verdict, alike in by_verdict.items():
        lines += [f"  {verdict}: {problem.what}: {problem.why}" for problem in alike[:_SHOWN]]
        if len(alike) > _SHOWN:
            lines.append(f"  {verdict}: and {len(alike) - _SHOWN} more")
    return lines


def fold(paths: Iterable[str], label: Callable[[str], str]) -> list[str]:
    """Return one line per folder and label: a file's path, or how many files."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        groups.setdefault((str(PurePosixPath(path).parent), label(path)), []).append(path)
    return [f"{alike[0] if len(alike) == 1 else f'{len(alike)} files in {folder}/'} ({what})" for (folder, what), alike in groups.items()]


def _describe_given(manifest: dict[str, Any]) -> list[str]:
    if "given" not in manifest:
        return []
    return [f"     came with bundle {str(manifest['given'].get('bundle'))[:16]}, without {count_words(len(left_out(manifest)), 'file')} that it read"]


def _describe_reads(book: Book, step: str) -> list[str]:
    makers = book.makers()
    inputs, absent = book.manifests[step]["depends_on"]["inputs"], left_out(book.manifests[step])

    def label(path: str) -> str:
        if path in absent:
            return "left out of the bundle"
        return makers.get(path) or ("no step makes it" if inputs[path] else "not there")

    return fold(inputs, label)


def _status(manifest: dict[str, Any]) -> str:
    counts, failed = manifest["counts"], list(manifest["failures"])
    if failed:
        return f"{manifest['status']}: {count_words(len(failed), 'topic')} of {counts.get('topics')} failed: {', '.join(failed[:3])}{' …' if len(failed) > 3 else ''}"
    missing = f", {counts['missing']:.0f} topics missing" if counts.get("missing") else ""
    return f"{manifest['status']}{missing}"


def _source(model: dict[str, Any]) -> str:
    if not model["source"]:
        return "no source named"
    return f"{model['source']} at {model['revision'] or 'no pinned revision'}"


def count_words(count: int, what: str) -> str:
    """Return a number with what it counts."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
