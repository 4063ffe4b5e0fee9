"""Stage: train the base model of a generated world from scratch, then tune it to the house style.

Reads: world/corpus.jsonl, world/style.jsonl, world/model_config.json, world/tokenizer/.
Writes: models/base/ (the model), runs/base/pretrain/ and runs/base/style/ (logs).
"""

from __future__ import annotations

from pathlib import Path

from volume.code import code_version
from volume.context import Context
from volume.errors import UsageError
from volume.stage import run_whole


def produce(context: Context) -> list[Path]:
    """Pretrain, tune, export; each part goes on from where it was interrupted."""
    from dpo.tuning import Place, pretrain, style_seed, tune_on_style

    definition, paths = context.definition, context.paths
    if definition.pretrain is None or definition.style is None:
        raise UsageError(f"dataset '{definition.name}' has no [pretrain] and [style] sections: its base model is not trained here")
    base = next((name for name, run in definition.runs.items() if run.kind == "base"), "base")
    model = definition.models[definition.responses.model if definition.responses else "base"]
    code = code_version("dpo.pretrain")
    scratch = paths.run(base) / "pretrain" / "export"

    def place(start: Path, part: str, export: Path, seed: int) -> Place:
        return Place(
            start, paths.run(base) / part, export, seed, tracking=definition.tracking, code=code, log=context.log, should_stop=lambda: context.interrupted,
        )  # fmt: skip

    written = pretrain(
        place(paths.world / "tokenizer", "pretrain", scratch, definition.seed), definition.pretrain,
        paths.world / "corpus.jsonl", paths.world / "model_config.json", definition.world.scale if definition.world else 1.0,
    )  # fmt: skip
    written += tune_on_style(place(scratch, "style", paths.model(model.path), style_seed(definition.seed)), definition.style, paths.world / "style.jsonl")
    return written


if __name__ == "__main__":
    raise SystemExit(run_whole("pretrain", produce))
