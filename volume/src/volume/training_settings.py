"""The settings of training: [pretrain], [style], [sft], [dpo] and [tracking] of a dataset definition.

Defaults are those of the public trainer's code, the arguments of its optimizer included; a definition states what differs.
docs/training.md explains every one of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimSettings:
    """One training run. Learning rates are per optimizer step."""

    lr: float = 5e-7
    batch_size: int = 4  # sequences (SFT) or pairs (DPO) per step, over all processes
    epochs: int = 1
    optimizer: str = "rmsprop"  # rmsprop | adamw, with PyTorch's own other arguments
    weight_decay: float = 0.0
    schedule: str = "constant"  # constant | cosine (to `floor` of lr), after the warm-up
    floor: float = 0.1
    warmup_steps: int = 150
    max_grad_norm: float = 10.0
    max_length: int = 512  # tokens of prompt and response
    max_prompt_length: int = 256  # tokens that the prompt may keep where both do not fit
    drop_last: bool = False  # leave out the last, smaller batch of an epoch
    dtype: str = "float32"  # float32 | bfloat16, with float32 masters and gradient sums
    zero_stage: int = 0  # DeepSpeed ZeRO: 0 nothing shared out, 1 optimizer state, 2 and gradients, 3 and weights
    offload: str = "none"  # none | optimizer (ZeRO 1 to 3) | parameters (and the optimizer; ZeRO 3): kept in the host's memory
    tokens_at_once: int = 16384  # tokens of one forward; a batch that has more is run in pieces, with the same gradient
    share_prompts: bool = True  # run a prompt's tokens once for all its responses, where the model allows it
    activation_checkpointing: bool = False  # recompute each layer in the backward pass: less memory, a third more time
    lora_rank: int = 0  # 0: all weights are trained; else low-rank adapters, merged into the export
    lora_alpha: float = 16.0
    lora_targets: tuple[str, ...] = ()  # names of linear layers, e.g. "q_proj"; none: all but the output head
    log_every: int = 10  # steps
    checkpoint_every: int = 200  # steps; only the newest checkpoint is kept


@dataclass(frozen=True)
class PretrainSettings(OptimSettings):
    steps: int = 2000
    tokens_per_step: int = 2070  # tokens in one batch, one document per row


@dataclass(frozen=True)
class DpoSettings(OptimSettings):
    beta: float = 0.1
    loss: str = "dpo"  # dpo | ipo
    label_smoothing: float = 0.0  # conservative DPO: the chance that a preference is the wrong way round
    reference_free: bool = False
    likelihood_weight: float = 0.0  # of the chosen response's negative log-likelihood per token, added to the loss
    gap_weight: float = 0.0  # how much more a pair must win by, per unit of its reward gap
    length_weight: float = 0.0  # how much less, per token that its chosen response is longer
    masked_spans: str = ""  # JSON lines below the dataset's folder: parts of responses that count in no log-probability
    threshold: float = 0.0  # a pair needs a reward gap greater than this
    order: str = "grouped"  # grouped (the public code's) | shuffled
    eval_every: int = 100  # steps between evaluations on `dpoval`
    eval_samples: int = 64  # responses sampled by each of them, for their length and the divergence from the reference; 0: none
    candidates: int = 0  # policies kept along the way, from which `eval` chooses on `val`; 0: the last one is taken


@dataclass(frozen=True)
class TrackingSettings:
    """Where the figures of training go besides metrics.jsonl. None of it makes a run stale."""

    tensorboard: bool = False  # event files in runs/{run}/{part}/tensorboard/
    wandb_project: str = ""  # Weights & Biases, if its package is installed; offline unless WANDB_MODE says otherwise
