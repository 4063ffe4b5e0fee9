"""Writes the report: one page that shows whether it worked and what it cost, and its numbers.

    python -m confscoring.report --dataset synth --data-dir data

Reads: eval/*/summary.json, rewards/ (rewards and, where it is there, the confidence of single facts), factscore_outputs/ of the
training topics, runs/*/*/metrics.jsonl, runs/*/choice.json (where runs keep candidates), world/world.json; without a world
questions_per_topic_*.json, whose pronouns tell whether the page speaks of people or of topics.
Writes: report/summary.json (all numbers), report/index.html (self-contained: no script, no font, nothing loaded) and
report/scatter.svg (its first figure alone, for other pages); beside them, and part of no comparison, cost.json and cost.html in the
dataset's folder: times, money and hardware from the manifests.
Every run is compared with the supervised run that it descends from. Runs that have not been made are listed as not run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from confscoring.judge import World
from confscoring.report_confidence import confidences_file, measure_confidence, read_claims
from confscoring.report_cost import collect_costs, cost_page, sum_costs
from confscoring.report_figures import scatter_file
from confscoring.report_numbers import by_attribute, choose_runs, compare, fate_of_facts, pareto_front
from confscoring.report_page import render
from confscoring.report_rewards import agree, count_pairs, rank_by_truth, spread_values
from confscoring.report_words import are_people, check, headline
from confscoring.report_work import count_work
from confscoring.selection import Choice
from volume.context import Context
from volume.errors import UsageError
from volume.files import sha256_file, write_json, write_text
from volume.policy_steps import count_candidates, supervised_run
from volume.records import Rewards, Topics, load, read_lines
from volume.settings import DecoderSettings, VerifierSettings
from volume.stage import run_whole
from volume.steps import build_steps

# What the page shows of a run's evaluation.
_SHOWN = ("people", "missing", "judges", "second_judges", "decodings", "closed_book", "judges_vs_truth", "calibration")


def produce(ctx: Context) -> list[Path]:
    """Write the report; return its files."""
    numbers = collect(ctx)
    folder = ctx.paths.report
    write_json(folder / "summary.json", numbers)
    write_text(folder / "index.html", render(numbers))
    written = [folder / "summary.json", folder / "index.html"]
    if any(run["present"] and "sample" in run["decodings"] for run in numbers["runs"]):
        written.append(folder / "scatter.svg")
        write_text(written[-1], scatter_file(numbers))
    _write_costs(ctx)
    ctx.count("runs", sum(run["present"] for run in numbers["runs"]))
    return written


def _write_costs(ctx: Context) -> None:
    """Write what the steps took; no output of this step, because it differs from run to run."""
    steps = build_steps(ctx.definition, ctx.paths, ctx.data_dir)
    rows = collect_costs(ctx.paths, {name: step.target for name, step in steps.items() if step.target != "report"})
    write_json(ctx.paths.root / "cost.json", {"format": 1, "dataset": ctx.definition.name, "total": sum_costs(rows), "steps": rows})
    write_text(ctx.paths.root / "cost.html", cost_page(ctx.definition.name, rows))


def collect(ctx: Context) -> dict[str, Any]:
    """Return all numbers of the report.

    Raises:
        UsageError: No run has been evaluated yet.
    """
    definition, paths = ctx.definition, ctx.paths
    summaries = {run: load(paths.eval(run) / "summary.json", dict[str, Any]) for run in definition.runs if (paths.eval(run) / "summary.json").exists()}
    if not summaries:
        raise UsageError(f"no run of '{definition.name}' has been evaluated yet. Run `make eval` first.")
    roles = choose_runs(definition, list(summaries))
    curves = {run: _curves(ctx, run) for run in definition.runs}
    runs = []
    for name, settings in definition.runs.items():
        row: dict[str, Any] = {
            "name": name, "label": settings.label, "kind": settings.kind, "reward": settings.reward, "extra": settings.extra,
            "present": name in summaries, "reference": supervised_run(definition, name), "work": count_work(summaries.get(name), curves[name]),
        }  # fmt: skip
        if name in summaries:
            row |= {key: value for key, value in summaries[name].items() if key in _SHOWN}
            if row["reference"] in summaries and name != row["reference"]:
                row["versus_reference"] = compare(summaries[name], summaries[row["reference"]], definition.eval.bootstrap, definition.seed)
        runs.append(row)
    first = next(iter(summaries.values()))
    numbers: dict[str, Any] = {
        "format": 1,
        "dataset": definition.name,
        "description": definition.description,
        "seed": definition.seed,
        "split": definition.eval.split,
        "people": max(summary["people"] for summary in summaries.values()),
        "resamples": definition.eval.bootstrap,
        "temperature": definition.eval.temperature,
        "responses_per_question": definition.eval.n,
        "invented_world": definition.world is not None,
        "judge": first["judges"][0],
        "verifiers": {"": name_verifier(definition.verifier), **{name: name_verifier(judge) for name, judge in definition.judges.items()}},
        "models": {name: {"path": model.path, "source": model.source, "revision": model.revision} for name, model in definition.models.items()},
        "decoders": {name: name_decoder(decoder) for name, decoder in definition.decoders.items()},
        "roles": roles,
        "runs": runs,
    }
    if definition.world is None and not are_people(_topics(ctx)):
        numbers["about_people"] = False  # said only where it is so: a report on people stays as it is, byte by byte
    numbers["front"] = _front(numbers)
    world = World.from_file(paths.world / "world.json") if definition.world else None
    if world is not None:
        shown = {name: summary for name, summary in summaries.items() if "sample" in summary["per_person"]["cells"]}
        numbers["fates"] = fate_of_facts(world, shown, summaries.get(roles["base"] or ""))
        numbers["fates"]["attribute"] = by_attribute(world, shown)
    numbers |= _rewards(ctx, world)
    numbers["curves"] = curves
    choices = {run: load(path, Choice) for run, path in _choices(ctx).items()}
    if choices:
        numbers["choices"] = choices
    numbers["examples"] = {name: summaries[name]["examples"] for name in (roles["reference"], roles["main"]) if name}
    numbers["inputs"] = _hashes(ctx)
    numbers["headline"] = headline(numbers)
    numbers["checks"] = check(numbers)
    return numbers


def _topics(ctx: Context) -> Topics:
    """Return the dataset's topics, of those splits whose questions are there."""
    files = [ctx.paths.questions(split) for split in ctx.definition.splits]
    return [topic for path in files if path.exists() for topic in load(path, Topics)]


def name_verifier(settings: VerifierSettings | None) -> str:
    """Return a verifier in words: its backend, its model, whether the nonparametric model must consent."""
    if settings is None:
        return ""
    return settings.backend + (f" {settings.model}" if settings.model else "") + (" and npm" if settings.npm else "")


def name_decoder(settings: DecoderSettings) -> str:
    """Return a decoder in words."""
    if settings.kind == "dola":
        penalty = f", repetition penalty {settings.repetition_penalty:g}" if settings.repetition_penalty != 1 else ""
        return f"DoLa against layers {settings.layers}, alpha {settings.alpha:g}{penalty}"
    return f"ITI, {settings.heads} heads, strength {settings.strength:g}"


def _front(numbers: dict[str, Any]) -> list[str]:
    """Return the runs on the Pareto front of sampled responses."""
    points = {}
    for run in numbers["runs"]:
        figures = run["decodings"]["sample"]["figures"][numbers["judge"]] if run["present"] and "sample" in run["decodings"] else {}
        x, y = (figures.get(name, {}).get("value") for name in ("incorrect", "correct"))
        if x is not None and y is not None:
            points[run["name"]] = (x, y)
    return pareto_front(points)


def _rewards(ctx: Context, world: World | None) -> dict[str, Any]:
    """Return pair accounting by split; of the training responses how each reward is spread, ranks by the truth and agrees with
    the others, and how confidence in single claims goes with their correctness."""
    found: dict[str, Any] = {"pairs": {}, "reward_truth": [], "reward_values": [], "reward_agreement": None, "confidence": None}
    threshold = ctx.definition.dpo.threshold if ctx.definition.dpo else 0.0
    for split in ("train", "dpoval"):
        if not list((ctx.paths.root / "rewards").glob(f"rewards_{split}_*.json")):
            continue
        path = ctx.paths.current_rewards(split)
        rewards: Rewards = load(path, Rewards)
        found["pairs"][split] = count_pairs(rewards, threshold)
        if split == "train":
            found["reward_values"], found["reward_agreement"] = spread_values(rewards), agree(rewards, threshold)
            found["reward_truth"] = rank_by_truth(ctx.paths, world, rewards) if world is not None else []
            found["confidence"] = _confidence(ctx, world, confidences_file(path))
    return found


def _confidence(ctx: Context, world: World | None, path: Path) -> dict[str, Any] | None:
    """Return confidence against correctness, None where an older volume has no confidence of single facts."""
    if not path.exists():
        return None
    claims, left_out = read_claims(path, world)
    about = {"file": path.name, "against": "truth" if world is not None else "verifier", "left_out": left_out}
    return {**about, **measure_confidence(claims, world, ctx.definition.eval.bootstrap, ctx.definition.seed)}


def _curves(ctx: Context, run: str) -> dict[str, list[dict[str, Any]]]:
    """Return {phase: logged steps} of a run's training."""
    logs = {phase: ctx.paths.run(run) / phase / "metrics.jsonl" for phase in ("sft", "dpo")}
    return {phase: [step for _, step in read_lines(path)] for phase, path in logs.items() if path.exists()}


def _choices(ctx: Context) -> dict[str, Path]:
    """Return {run: its choice.json} of the runs whose policy was chosen; what is left of an earlier definition counts for nothing."""
    found = {run: ctx.paths.choice(run) for run in ctx.definition.runs if count_candidates(ctx.definition, run)}
    return {run: path for run, path in found.items() if path.exists()}


def _hashes(ctx: Context) -> dict[str, str]:
    """Return {path below the dataset's folder: SHA-256} of what the report was made from."""
    root = ctx.paths.root
    wanted = [ctx.paths.world / "world.json", *(ctx.paths.eval(run) / "summary.json" for run in ctx.definition.runs)]
    wanted += [ctx.paths.run(run) / phase / "metrics.jsonl" for run in ctx.definition.runs for phase in ("sft", "dpo")]
    wanted += _choices(ctx).values()
    wanted += [*sorted((root / "rewards").glob("rewards_*.json")), *sorted((root / "rewards").glob("confidences_*.jsonl"))]
    return {str(path.relative_to(root)): sha256_file(path) for path in wanted if path.exists()}


if __name__ == "__main__":
    raise SystemExit(run_whole("report", produce))
