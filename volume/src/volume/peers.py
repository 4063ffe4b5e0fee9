"""Processes that do one piece of work together: how they are asked to stop, and which of them says why they ended.

A launcher stops all of its processes when one of them fails. So each ends in an error of its own, and as a rule all have the
same: a missing file is missing for everybody. One message is enough.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from volume.context import Context
from volume.errors import FAILED, VolumeError
from volume.ranks import Rank

# So much later than rank 0 another rank tells of its error: torchrun looks every 0.5 s whether its processes have ended, DeepSpeed's launcher every second.
_PATIENCE = 5.0

# How PyTorch's gloo and NCCL word it that a process has left in the middle of what they do together.
_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited", "communicator was aborted")


class StopSignals:
    """Takes SIGTERM, and the first Ctrl-C, for the wish to stop after the step in hand: all processes save it, or none.

    A second Ctrl-C ends the process where it stands. SIGTERM is never the second: torchrun hands Ctrl-C on, and the pipeline
    adds a SIGTERM of its own.
    """

    def __init__(self) -> None:
        self.terminated = False
        self._by_hand = False

    def listen(self, context: Context) -> None:
        """Have the signals set ``context.interrupted`` from now on."""

        def take(number: int, _frame: object) -> None:
            context.interrupted = True
            if number == signal.SIGTERM:
                self.terminated = True
            elif self._by_hand:
                raise KeyboardInterrupt
            else:
                self._by_hand = True

        signal.signal(signal.SIGTERM, take)
        signal.signal(signal.SIGINT, take)

    def come_soon(self) -> bool:
        """Return whether SIGTERM has come, or comes while this waits a little."""
        end = time.monotonic() + _PATIENCE
        while not self.terminated and time.monotonic() < end:
            time.sleep(0.05)
        return self.terminated


def tell_once(rank: Rank, signals: StopSignals, command: Callable[[], int]) -> int:
    """Run a command that all ranks of a launch run at once, and leave one message of what ended them.

    Rank 0 tells at once. Another one waits a little first: if the launcher stops it meanwhile, a process has ended before it
    and has told. A rank that only found another one gone does so too, rank 0 or not.

    Raises:
        VolumeError: As the command does; or a process of the launch has left, and nobody has said why.
    """
    try:
        return command()
    except KeyboardInterrupt:
        if rank.number == 0:
            raise
        return FAILED  # all are asked at the same step, and rank 0 says so
    except (VolumeError, OSError) as error:
        if rank.number == 0 or not signals.come_soon():
            raise
        return error.status if isinstance(error, VolumeError) else FAILED
    except RuntimeError as error:
        if rank.alone or not any(words in str(error) for words in _PEER_GONE):
            raise
        if signals.come_soon():
            return FAILED
        raise VolumeError(
            f"{rank}: another process of this run has ended (see its message; if there is none, it was killed, perhaps for want of memory). "
            "Run the same command again to go on from the last checkpoint."
        ) from error
