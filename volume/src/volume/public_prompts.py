"""Imports the public code's own few-shot examples from a checkout of it into the volume.

That code states no licence, so none of its text is in this repository. It is read as data (Python's `ast`), never run, and only if the
checkout is at the pinned commit and its files are unchanged. Written: prompts/public_questions_{bio,medqa}.json, its prompt for questions,
and definitions/public-{bio,medqa}.toml, which extend `bio` and `medqa` by that prompt and by its examples of answers.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from volume.errors import UsageError
from volume.files import write_json, write_text

DATASETS = ("bio", "medqa")
_FOLDER = "scoring/confidence_scoring"
_ANSWERS, _QUESTIONS, _SYSTEM = f"{_FOLDER}/utils_atomic_sample.py", f"{_FOLDER}/utils_atomic_q.py", "system_prompt_concise.txt"
_PARTS = ("names", "statements", "questions")


def import_prompts(checkout: Path, data_dir: Path, revision: str) -> list[Path]:
    """Read the examples and write them into the volume; return the files written.

    Raises:
        UsageError: No such checkout, another commit, changed files, or another structure than the pinned commit has.
    """
    head = _git(checkout, "rev-parse", "HEAD")
    if head != revision:
        raise UsageError(f"{checkout} is at commit {head}, expected {revision}: git -C {checkout} checkout {revision}")
    answers, questions = (ast.parse(_unchanged(checkout, name)) for name in (_ANSWERS, _QUESTIONS))
    system = _unchanged(checkout, _SYSTEM).strip()
    written: list[Path] = []
    for name in DATASETS:
        examples = f"prompts/public_questions_{name}.json"
        prefix = read_text(answers, f"get_aq_sampling_few_shot_examples_{name}", _ANSWERS)
        definition = data_dir / "definitions" / f"public-{name}.toml"
        write_text(definition, _definition(name, prefix, examples, revision))
        content = {part: _constant(questions, f"example_{part}_{name}") for part in _PARTS}
        content |= {"instruction": read_text(questions, f"get_instruction_{name}", _QUESTIONS), "system": system, "commit": revision}
        write_json(data_dir / examples, content)
        written += [definition, data_dir / examples]
    return written


def _git(checkout: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UsageError("git is missing; the checkout's commit cannot be verified without it.") from error
    if done.returncode != 0:
        raise UsageError(f"--checkout {checkout}: no checkout of the public code: {done.stderr.strip() or 'git failed'}")
    return done.stdout.strip()


def _unchanged(checkout: Path, name: str) -> str:
    """Return the text of a file, which must be the commit's own, byte for byte."""
    try:
        data = (checkout / name).read_bytes()
    except OSError as error:
        raise UsageError(f"{checkout / name} cannot be read ({error.strerror}); expected the whole checkout.") from error
    found, expected = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest(), _git(checkout, "rev-parse", f"HEAD:{name}")
    if found != expected:
        raise UsageError(f"{checkout / name} was changed (git blob {found}, expected {expected}): git -C {checkout} checkout -- {name}")
    return data.decode("utf-8")


def read_text(tree: ast.Module, function: str, name: str) -> str:
    """Return the text that a function puts together of pieces, as it stands there; a value that it fills in becomes {its name}.

    Raises:
        UsageError: There is no such function, or it does something else than adding pieces to one variable.
    """
    node = next((item for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == function), None)
    if node is None:
        raise UsageError(f"{name} has no function {function}; expected the file of the pinned commit.")
    text: str | None = None
    for line in node.body:
        if isinstance(line, ast.Assign):
            text = _piece(line.value, name)
        elif isinstance(line, ast.AugAssign) and isinstance(line.op, ast.Add) and text is not None:
            text += _piece(line.value, name)
        elif isinstance(line, ast.Return) and isinstance(line.value, ast.Name) and text is not None:
            return text
        else:
            raise UsageError(f"{name}, line {line.lineno}: expected that {function} only adds texts to one variable.")
    raise UsageError(f"{name}: {function} returns nothing.")


def _piece(value: ast.expr, name: str) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr):
        return "".join(_piece(part, name) for part in value.values)
    if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
        return f"{{{value.value.id}}}"
    raise UsageError(f"{name}, line {value.lineno}: expected a text.")


def _constant(tree: ast.Module, variable: str) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == variable for target in node.targets):
            try:
                return ast.literal_eval(node.value)
            except ValueError as error:
                raise UsageError(f"{_QUESTIONS}: {variable} is no plain list; expected the file of the pinned commit.") from error
    raise UsageError(f"{_QUESTIONS} has no {variable}; expected the file of the pinned commit.")


def _definition(name: str, prefix: str, examples: str, revision: str) -> str:
    quoted = json.dumps(prefix, ensure_ascii=False)  # also a string of TOML's
    text = f'# Imported from the public code at commit {revision}, which states no licence: keep it on this volume.\nextends = "{name}"\nname = "public-{name}"\n\n'
    text += f'[questions]\nexamples = "{examples}"\n\n[answers]\nprefix = {quoted}\n\n'
    text += "[eval]\ncalibrated = []  # needs questions with an answer of the fact's own, for which that prompt does not ask\n"
    try:
        same = tomllib.loads(text)["answers"]["prefix"] == prefix
    except tomllib.TOMLDecodeError:
        same = False
    if not same or not prefix.strip():
        raise UsageError(f"{_ANSWERS}: its examples for '{name}' are empty, or hold characters that a definition cannot.")
    return text
