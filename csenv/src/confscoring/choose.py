"""Chooses between the policies that a run kept along the way, and exports the one that the rule takes.

    python -m confscoring.choose --dataset synth --data-dir data --run factscore

Reads: runs/RUN/candidates/; the sampled responses of each of them, and of the supervised run, to the prompts of `eval.select`, with
their scores: eval/RUN/candidates/K/ and eval/SFT/SPLIT/.
Writes: runs/RUN/export/ (the candidate's own files, linked where the file system can), runs/RUN/choice.json (the figures of all of
them, the rule, what was chosen and why).
The judge is the verifier, since a dataset of one's own has no other truth. People whose responses could not be scored for one of the
policies are left out for all. Where no candidate meets the rule, the last is exported, as without a choice, and the log says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from confscoring.evaluate import read_scored
from confscoring.measures import Sums, count_topic, measure
from confscoring.selection import Bounds, Candidate, Choice, Measured, Rule, Selection, Tally, select
from confscoring.statistics import Counts, draw_people
from volume.context import Context
from volume.errors import RecordError, UsageError, VolumeError
from volume.paths import candidate_part
from volume.policy_steps import count_candidates, supervised_run
from volume.records import Candidates, ScoredResponse, Topics, load, save
from volume.stage import run_whole

_JUDGE, _DECODING = "verifier", "sample"
_SHOWN = {"percent_correct": _JUDGE, "correct": _JUDGE, "incorrect": _JUDGE, "facts": "plain", "empty": "plain"}


def produce(ctx: Context) -> list[Path]:
    """Choose, export and record; return the files written.

    Raises:
        UsageError: Something to choose by is missing.
        RecordError: The candidates are not as many as the definition says.
    """
    run = str(ctx.run)
    sft = supervised_run(ctx.definition, run)
    number, settings = count_candidates(ctx.definition, run), ctx.definition.eval
    steps = read_steps(ctx, run, number)
    names = [topic["topic"] for topic in load(ctx.paths.questions(settings.select), Topics)[: ctx.limit]]
    places = [(sft, settings.select), *((run, candidate_part(k)) for k in range(1, number + 1))]
    scored = [read_sampled(ctx, names, *place) for place in places]
    people = [name for name in names if all(name in policy for policy in scored)]
    if not people:
        raise UsageError(
            f"run '{run}': nobody of split '{settings.select}' has scored responses of '{sft}' and of all {number} candidates. "
            f"Look at the failures of the steps before in {ctx.paths.manifests}, then run `make eval` again."
        )
    draws = draw_people(len(people), settings.bootstrap, ctx.definition.seed)
    supervised, *candidates = (count_policy(people, policy) for policy in scored)
    rule = Rule(settings.keep_correct, settings.more_empty)
    tallies = [tally(sums) for sums in candidates]
    found = select(tallies, tally(supervised), rule)
    verdict = tell(found, steps)
    choice: Choice = {
        "format": 1,
        "dataset": ctx.definition.name,
        "seed": ctx.definition.seed,
        "run": run,
        "label": ctx.definition.runs[run].label,
        "supervised_run": sft,
        "supervised_label": ctx.definition.runs[sft].label,
        "split": settings.select,
        "judge": _JUDGE,
        "decoding": _DECODING,
        "people": len(people),
        "missing": [name for name in names if name not in set(people)],
        "rule": Bounds(keep_correct=rule.keep_correct, more_empty=rule.more_empty),
        "supervised": figures_of(supervised, draws, 0),
        "candidates": [
            Candidate(**figures_of(sums, draws, step), candidate=place + 1, qualifies=not found.why_not[place], why_not=list(found.why_not[place]))
            for place, (sums, step) in enumerate(zip(candidates, steps, strict=True))
        ],
        "frontier": [place + 1 for place in found.frontier],
        "qualified": found.qualified,
        "chosen": found.chosen + 1,
        "step": steps[found.chosen],
        "verdict": verdict,
    }
    for line in describe(choice):
        ctx.log(line)
    exported = export_candidate(ctx.paths.candidate(run, found.chosen + 1), ctx.paths.export(run))
    save(ctx.paths.choice(run), choice, Choice)
    ctx.count("people", len(people))
    ctx.count("missing", len(choice["missing"]))
    ctx.count("candidates", number)
    ctx.count("qualifying", sum(not reasons for reasons in found.why_not))
    ctx.note("chosen", verdict)
    return [*exported, ctx.paths.choice(run)]


def read_steps(ctx: Context, run: str, number: int) -> list[int]:
    """Return the training step of each candidate.

    Raises:
        RecordError: There are not ``number`` of them.
        UsageError: There is none.
    """
    path = ctx.paths.candidates(run)
    record: Candidates = load(path, Candidates)
    if len(record["steps"]) != number:
        raise RecordError(f"{path} names {len(record['steps'])} candidates, expected {number} (dpo.candidates). Delete it and run `make train` again.")
    return record["steps"]


def read_sampled(ctx: Context, names: Sequence[str], run: str, part: str) -> dict[str, list[ScoredResponse]]:
    """Return {person: sampled responses with their scores} of a policy, without the people on whom an earlier stage failed."""
    found = {name: read_scored(ctx.paths.responses(name, run, part), ctx.paths.factscore(name, run, part)) for name in names}
    return {name: responses[_DECODING][0] for name, responses in found.items() if responses is not None and _DECODING in responses}


def count_policy(people: Sequence[str], scored: Mapping[str, Sequence[ScoredResponse]]) -> Sums:
    """Return the counts of a policy's responses, a number for each person."""
    rows = [count_topic(None, name, scored[name], None) for name in people]
    return {key: [row[key] for row in rows] for key in rows[0]}


def tally(sums: Sums) -> Tally:
    """Return what the rule looks at."""
    return Tally(sum(sums["responses"]), sum(sums["facts"]), sum(sums[f"{_JUDGE}_correct"]), sum(sums["empty"]))


def figures_of(sums: Sums, draws: Counts, step: int) -> Measured:
    """Return a policy's part of choice.json."""
    measured = measure(sums, [_JUDGE], draws)
    counts = {"responses": sum(sums["responses"]), "facts": sum(sums["facts"]), "correct": sum(sums[f"{_JUDGE}_correct"]), "empty": sum(sums["empty"])}
    return {"step": step, "counts": counts, "figures": {name: measured[judge][name] for name, judge in _SHOWN.items()}}


def tell(found: Selection, steps: Sequence[int]) -> str:
    """Return the outcome as a sentence."""
    which = f"candidate {found.chosen + 1} of {len(steps)} (step {steps[found.chosen]})"
    if not found.qualified:
        return f"no candidate meets the rule: the last is exported, as without a choice: {which}"
    number = sum(not reasons for reasons in found.why_not)
    return f"{which} is exported: the highest per cent correct of the {number} that meet the rule" if number > 1 else f"{which} is exported: no other meets the rule"


def describe(choice: Choice) -> list[str]:
    """Return the choice in lines for the log: SFT, every candidate, the outcome, and the frontier where none meets the rule."""

    def figures(policy: Measured) -> str:
        share, correct, empty = (policy["figures"][name]["value"] for name in ("percent_correct", "correct", "empty"))
        return f"{'no facts' if share is None else f'{share:.1f} % correct'}, {correct:.2f} correct facts, {empty:.1f} % empty"

    bounds = choice["rule"]
    lines = [f"by the verifier, on {choice['people']} topic{'' if choice['people'] == 1 else 's'} of '{choice['split']}'; SFT: {figures(choice['supervised'])}"]
    for policy in choice["candidates"]:
        outcome = "; ".join(policy["why_not"]) or "meets the rule"
        lines.append(f"candidate {policy['candidate']} (step {policy['step']}): {figures(policy)}: {outcome}")
    lines.append(choice["verdict"])
    if not choice["qualified"]:
        lines.append(
            f"wanted: {100 * bounds['keep_correct']:g} % of SFT's correct facts, at most {bounds['more_empty']:g} points more empty responses. "
            f"The frontier of per cent correct and correct facts: {', '.join(f'candidate {k}' for k in choice['frontier']) or 'none states a fact'}"
        )
    return lines


def export_candidate(source: Path, target: Path) -> list[Path]:
    """Put a candidate's files in place of an older export, under a temporary name first; return them. Files are linked: they take no room.

    Raises:
        UsageError: There is no such candidate.
        VolumeError: The files can be neither linked nor copied.
    """
    files = sorted(path for path in source.glob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise UsageError(f"{source} has no model. Run `make train` first.")
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for path in files:
            _place(path, partial / path.name)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise VolumeError(f"cannot write {target}: {error.strerror or error}. Free some space and run the same command again.") from error
    return [target / path.name for path in files]


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or a limit on them: then a copy, which fails for its own reasons
        with source.open("rb") as read, target.open("wb") as written:
            shutil.copyfileobj(read, written)
            written.flush()
            os.fsync(written.fileno())


if __name__ == "__main__":
    raise SystemExit(run_whole("choose", produce))
