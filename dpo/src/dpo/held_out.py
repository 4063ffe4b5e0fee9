"""What is measured while a policy is trained: the loss on `dpoval`, and what the policy writes there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dpo.batches import Batching
from dpo.logprobs import response_logps
from dpo.objectives import PairData, pair_losses, pair_sums
from dpo.processes import Processes
from dpo.samples import Watch, watch_figures
from dpo.tokenise import TokenSequence
from volume.training_settings import DpoSettings


@dataclass(frozen=True)
class HeldOut:
    """The held-out pairs, and the prompts that the policy is watched on.

    Attributes:
        data: The pairs; there may be none.
        settings: The loss that is measured, and how often.
        watch: What is sampled; None for nothing.
        drawn: The reference's own samples.
        reference: Their log-probabilities under the reference. Shape: (samples,)
    """

    data: PairData
    settings: DpoSettings
    watch: Watch | None = None
    drawn: Sequence[TokenSequence] = field(default_factory=list)
    reference: Tensor = field(default_factory=lambda: torch.zeros(0))

    def measure(self, engine: Any, batching: Batching, processes: Processes) -> dict[str, float]:
        """Return the figures of the policy as it is: nothing where there is nothing to measure on.

        Loss, accuracy, both rewards apart, margin and log-probabilities of the pairs; then the divergence from the reference in
        nats per response, and mean tokens and share of the empty ones of the policy's samples.
        """
        figures: dict[str, float] = {}
        if self.data.pairs:
            logps = response_logps(engine, batching, self.data.sequences, processes)
            sums = pair_sums(pair_losses(logps, self.data, self.settings), logps, self.data.pairs)
            figures = {name: (value / sums["weight"]).item() for name, value in sums.items() if name != "weight"}
        if self.watch is not None and self.drawn:
            own = response_logps(engine, batching, self.drawn, processes)[:, 0]
            drawn = self.watch.sample(engine.module, processes, zero3=engine.zero_optimization_stage() == 3)
            figures |= watch_figures(drawn, self.watch.end, self.reference, own)
        return figures
