"""torchrun with one message where it would print a traceback: its processes have said themselves what went wrong.

    python -m dpo.torchrun --nnodes 1 --nproc_per_node 2 … -m -- dpo.train --dataset synth --data-dir data --run sft

It takes torchrun's options, and ends with the status of the process that failed first, of which torchrun itself makes 1.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

from volume.errors import FAILED


def main(argv: list[str] | None = None) -> int:
    """Run the processes to their end; return the exit status."""
    logging.disable(logging.ERROR)  # of this process alone: a line for every process that it stops
    try:
        from torch.distributed.elastic.multiprocessing.api import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.run import main as run

        try:
            run(argv)
        except ChildFailedError as error:
            return _tell(error.failures)
        except SignalException:  # its processes have ended: it waits 30 s for them, then kills them
            return FAILED
    except KeyboardInterrupt:  # before there were any
        return FAILED
    return 0


def _tell(failures: dict[int, Any]) -> int:
    """Say which process was killed, if one was: it could not say so itself. Return the exit status.

    Args:
        failures: torchrun's ProcessFailure of each rank that failed.
    """
    for rank, failure in sorted(failures.items()):
        if failure.exitcode < 0:
            print(
                f"error: process {rank} was killed ({signal.Signals(-failure.exitcode).name}; if nobody did it, the machine ran out of memory). "
                "Run the same command again to go on from the last checkpoint.",
                file=sys.stderr,
            )
            return FAILED
    first = min(failures.values(), key=lambda failure: failure.timestamp)
    return int(first.exitcode)


if __name__ == "__main__":
    raise SystemExit(main())
