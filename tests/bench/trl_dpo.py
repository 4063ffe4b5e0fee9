"""TRL's DPOTrainer on the same pairs: where it is installed, and a run of it that is told to do what the others do.

TRL is in no lock of this project. `install` puts what trl.txt lists into a folder beside the environments, which only the
process that runs TRL sees: PyTorch, Transformers and Accelerate are those of the dpo environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpo_groups import Groups
from step_meter import Meter

from dpo.tokenise import TokenSequence

LOCK = Path(__file__).with_name("trl.txt")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # Debian's
_SITE = "site-packages"  # datasets pickles with dill, which takes modules for installed ones only below a folder of this name


def install(say: Callable[[str], None]) -> tuple[Path | None, str]:
    """Return the folder with TRL, installed now if it is not there; or None and why."""
    environments = Path(sys.prefix).resolve().parent
    folder = environments / f"bench-trl-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder / _SITE, ""
    uv = environments / ".uv" / "bin" / "uv"
    if not uv.is_file():
        return None, f"there is no {uv} to install it with; `make envs` makes one"
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    say(f"installing TRL into {folder} (230 MB); once per {LOCK.name} …")
    variables = {"UV_CACHE_DIR": str(environments / ".uv-cache"), **os.environ}
    if _CERTIFICATES.is_file():
        variables.setdefault("SSL_CERT_FILE", str(_CERTIFICATES))
    command = [str(uv), "pip", "install", "--quiet", "--no-config", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--compile-bytecode",
               "--python", sys.executable, "--target", str(partial / _SITE), "-r", str(LOCK)]  # fmt: skip
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        return None, "it could not be installed: " + " ".join(done.stderr.split())[-300:]
    partial.rename(folder)
    return folder / _SITE, ""


def train(
    folder: Path, groups: Groups, plan: list[list[tuple[int, int]]], cached: bool, lr: float, clip: float, scratch: Path, meter: Meter
) -> None:
    """Train with DPOTrainer: one optimizer step per batch of the plan.

    Its defaults are left where they do not change what is compared. Gradient checkpointing and bfloat16, which it turns on by
    itself, are off; pairs come in the given order; nothing is evaluated, saved or sent anywhere.

    Args:
        folder: The model and its tokenizer.
        groups: What the plan indexes.
        plan: The pairs of each step.
        cached: Whether reference log-probabilities are computed before training (``precompute_ref_log_probs``).
        lr: Learning rate of RMSprop.
        clip: Largest norm of the gradient.
        scratch: Where it may write.
        meter: Is told when a step ends, and shown the first gradient.

    Raises:
        AssertionError: TRL's token ids are not the ones that the other ways run.
    """
    import datasets
    import transformers
    import trl

    from dpo.models import load_model

    datasets.disable_progress_bars()
    pairs = [pair for batch in plan for pair in batch]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    data = datasets.Dataset.from_dict(groups.texts(pairs))
    model = load_model(folder)
    meter.loaded(model)
    arguments = trl.DPOConfig(
        output_dir=str(scratch), per_device_train_batch_size=len(plan[0]), num_train_epochs=1, max_length=512, beta=0.1, optim="rmsprop",
        learning_rate=lr, lr_scheduler_type="constant", max_grad_norm=clip, gradient_checkpointing=False, bf16=False, use_cpu=True,
        precompute_ref_log_probs=cached, train_sampling_strategy="sequential", save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip

    class Timed(trl.DPOTrainer):  # type: ignore[misc]
        def _precompute_ref_logps(self, *given: Any) -> Any:  # the pass alone, not the tokenising before it
            meter.begin()
            return super()._precompute_ref_logps(*given)

    trainer = Timed(model=model, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=[_told(meter)])
    meter.reference()
    trainer.remove_callback(transformers.PrinterCallback)
    same_ids(trainer.train_dataset, groups.sequences, pairs)
    trainer.train()


def same_ids(dataset: Any, sequences: Any, pairs: list[tuple[int, int]]) -> None:
    """Check that TRL tokenised every pair to the ids that the other ways run."""
    def split(sequence: TokenSequence) -> tuple[list[int], list[int]]:
        return sequence.ids[: sequence.prompt_length].tolist(), sequence.ids[sequence.prompt_length :].tolist()

    if len(dataset) != len(pairs):
        raise AssertionError(f"TRL kept {len(dataset)} of {len(pairs)} pairs")
    for row, (chosen, rejected) in zip(dataset, pairs, strict=True):
        (prompt, left), (_, right) = split(sequences[chosen]), split(sequences[rejected])
        if (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) != (prompt, left, right):
            raise AssertionError(f"TRL made {row['prompt_ids']}, {row['chosen_ids']}, {row['rejected_ids']} of {prompt}, {left}, {right}")


def _told(meter: Meter) -> Any:
    import transformers

    class Told(transformers.TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, model: Any, **more: Any) -> None:
            meter.gradient(model)

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            meter.step()

    return Told()
