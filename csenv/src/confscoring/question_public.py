"""The public code's own prompt for questions, from the file that `make assets CHECKOUT=…` imports its texts into.

One message: for each of its example topics the instruction and statements with their questions, then the instruction for the fact's topic,
and the fact, whose question the model goes on with. As there, any reply is taken up to the next "Statement:", yes or no included; it asks
for no answer, so that a fact has a question and no answer of its own, and only `samp_conf` and calibration, which need one, cannot be had.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from confscoring.question_claims import Claim
from volume.errors import RecordError
from volume.records import load

PROMPT_VERSION = "public-questions-1"
AGAIN = "There is no question in that. Write the question, and nothing else.\n\n{prompt}"

_EXAMPLE_PRONOUN = "them"  # what the public code writes: it finds no pronoun of its example topics
_HOLES = re.compile(r"\{(\w+)\}")
_LABEL = re.compile(r"^\s*question\s*[:：]\s*", re.IGNORECASE)


class ExamplesRecord(TypedDict):
    """prompts/public_questions_*.json."""

    system: str
    instruction: str
    names: list[str]
    statements: list[list[str]]
    questions: list[list[str]]


@dataclass(frozen=True)
class PublicPrompt:
    """The texts of the prompt.

    Attributes:
        system: The system message; "" for none.
        instruction: What is said before the statements of a topic, with {name} and, of people, {pronoun}.
        examples: Topics with their pairs of a statement and its question.
    """

    system: str
    instruction: str
    examples: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    def messages(self, claim: Claim) -> tuple[tuple[str, str], ...]:
        """Return the chat that asks about a claim."""
        text = ""
        for name, pairs in self.examples:
            text += self._introduce(name, _EXAMPLE_PRONOUN) + "".join(f"Statement: {said}\nQuestion: {asked}\n\n" for said, asked in pairs)
        text += f"{self._introduce(claim.subject.name, claim.subject.pronoun)}Statement: {claim.atom}\nQuestion:"
        return (*((("system", self.system),) if self.system else ()), ("user", text))

    def _introduce(self, name: str, pronoun: str) -> str:
        return _HOLES.sub(lambda hole: {"name": name, "pronoun": pronoun}[hole.group(1)], self.instruction)


def read_prompt(path: Path) -> PublicPrompt:
    """Return the prompt in a file.

    Where a topic has more questions than statements (a comma is missing in the public code, which joins two statements), the last ones are
    left out, as there.

    Raises:
        UsageError: There is no such file.
        RecordError: It cannot be read, or is not of that form.
    """
    record: ExamplesRecord = load(path, ExamplesRecord)
    strange = sorted(set(_HOLES.findall(record["instruction"])) - {"name", "pronoun"})
    if strange:
        raise RecordError(f"{path}: the instruction has {{{strange[0]}}}; expected {{name}} and {{pronoun}}.")
    lengths = {len(record[part]) for part in ("names", "statements", "questions")}
    if len(lengths) != 1 or any(len(asked) < len(said) for said, asked in zip(record["statements"], record["questions"], strict=True)):
        raise RecordError(f"{path}: expected a list of statements and one of questions for each of the names, and a question for each statement.")
    rows = zip(record["names"], record["statements"], record["questions"], strict=True)
    return PublicPrompt(record["system"], record["instruction"], tuple((name, tuple(zip(said, asked, strict=False))) for name, said, asked in rows))


def parse_continuation(reply: str, cut: bool = False) -> str:
    """Return the question that a reply begins with, without a label before it; "" where there is none.

    Args:
        cut: The reply was cut at its greatest length, so its last line is not whole.
    """
    text = reply.split("Statement:")[0]
    if cut and "Statement:" not in reply:
        text = text.rpartition("\n")[0]
    return " ".join(_LABEL.sub("", text).split())
