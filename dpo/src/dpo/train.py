"""Stage: train one policy, by supervised tuning on all responses or by preference optimisation on one reward's pairs.

Prompts are the texts that responses were sampled after, without the few-shot prefix: see `dpo.chat`.

Reads: rewards of `train` (and of `dpoval`, for evaluation), models/base/ or the supervised run's export, masked spans if any.
Writes: runs/{run}/sft/ or runs/{run}/dpo/ (logs), runs/{run}/export/ or runs/{run}/candidates/ (the policy, or those to choose
from), reference_logps/ (what the reference says of the responses).
"""

from __future__ import annotations

from pathlib import Path

from volume.code import code_version
from volume.context import Context
from volume.errors import UsageError
from volume.evidence import model_folder
from volume.policy_steps import policy_folder, run_model, start_run
from volume.stage import run_together


def produce(context: Context) -> list[Path]:
    """Train the run that the command line names."""
    from dpo.chat import open_form
    from dpo.tuning import Place, tune_on_preferences, tune_on_responses

    definition, paths, name = context.definition, context.paths, str(context.run)
    run = definition.runs[name]
    if definition.responses is None or definition.sft is None:
        raise UsageError(f"dataset '{definition.name}': training needs its [responses] and [sft] sections")
    rewards = paths.current_rewards("train")
    code = code_version("dpo.train")
    pattern, new_tokens = definition.responses.prompt, definition.responses.max_new_tokens
    model = run_model(definition, name)
    chat = definition.models[model].chat

    def place(start: Path, part: str) -> Place:
        return Place(
            start, paths.run(name) / part, paths.export(name), definition.seed, candidates=paths.run(name) / "candidates",
            references=paths.root / "reference_logps", form=open_form(pattern, start, chat), new_tokens=new_tokens,
            tracking=definition.tracking, code=code, log=context.log, should_stop=lambda: context.interrupted or context.rank.abandoned,
        )  # fmt: skip

    if run.kind == "sft":
        start = model_folder(definition, paths, context.data_dir, model)
        return tune_on_responses(place(start, "sft"), definition.sft, rewards)
    before = start_run(definition, name)
    if not before or definition.dpo is None:
        raise UsageError(f"dataset '{definition.name}': run '{name}' needs a run of kind 'sft' to start from, and a [dpo] section")
    held_out = paths.current_rewards("dpoval") if "dpoval" in definition.splits else None
    masked = paths.root / definition.dpo.masked_spans if definition.dpo.masked_spans else None
    return tune_on_preferences(place(policy_folder(definition, paths, context.data_dir, before), "dpo"), definition.dpo, run.reward, rewards, held_out, masked)


if __name__ == "__main__":
    raise SystemExit(run_together("train", produce))
