"""Several processes that share out a step: which of them this one is, and who may work on a step at once.

A stage over topics that is started N times on one volume, by torchrun, DeepSpeed's launcher or srun, takes its share in each
process: of the groups of topics, rank r takes the groups r, r + N, r + 2N, … These ranks never talk to each other. They meet
in the step's journal and in its locks, so one that is killed costs its own unfinished groups, and the next run, of as many
processes as it likes, goes on from there. The ranks of a training work on every step of it together (volume.stage.run_together).

Assumed of a volume that several hosts share: flock holds between them. It does on a host's own disks, on NFS as Linux mounts
it, on CephFS and GPFS, and on Lustre mounted with `flock`. Where a mount keeps locks to each host (`nolock`, `local_lock`,
`localflock`), two launches at once are not refused, and lines of the journal can be lost: their topics are done again, and
no result is wrong.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from volume.errors import UsageError, VolumeError
from volume.holding import lock_file

Item = TypeVar("Item")


@dataclass(frozen=True)
class Rank:
    """One of the processes of a launch; as it stands, a process alone.

    Attributes:
        number: From 0; which share is this one's.
        of: How many processes share the topics out.
        launch: What tells this launch from others, as far as the launcher says: what failed in an earlier one is tried again.
        parent: The process id of torchrun; None for a process that something else started.
        local: Its number among those on its host, from 0; which GPU is this one's.
        one_host: Whether all of the launch run on this host, as far as the launcher says.
    """

    number: int = 0
    of: int = 1
    launch: str = ""
    parent: int | None = None
    local: int = 0
    one_host: bool = True

    @property
    def alone(self) -> bool:
        return self.of == 1

    @property
    def abandoned(self) -> bool:
        """Whether torchrun was killed: nobody will stop this process any more, and the next run must not wait for all of its share."""
        return self.parent is not None and os.getppid() != self.parent

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this rank's part. It depends on the items alone, so it is the same whenever a rank starts."""
        return items[self.number :: self.of]

    def __str__(self) -> str:
        return f"rank {self.number} of {self.of}"


def this_rank() -> Rank:
    """Return which process this is, by the variables of torchrun (and of DeepSpeed's launcher), else of srun; one that nothing launched is alone.

    Raises:
        UsageError: WORLD_SIZE stands without a RANK that fits it.
    """
    variables = os.environ
    if not variables.get("WORLD_SIZE") and not variables.get("RANK"):
        return _task_of_srun(variables)
    world, number, local = variables.get("WORLD_SIZE") or "1", variables.get("RANK") or "", variables.get("LOCAL_RANK") or "0"
    if world == "1":
        return Rank()
    if not (world.isdecimal() and number.isdecimal() and int(number) < int(world)):
        raise UsageError(f"WORLD_SIZE={world}, RANK={number}: expected a RANK from 0 to WORLD_SIZE - 1, as torchrun sets them. Unset both to run alone.")
    # The port is a free one, found anew by every torchrun, so it tells launches apart where all were given one id.
    launch = "/".join(variables.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"))
    on_this_host = variables.get("LOCAL_WORLD_SIZE") or variables.get("LOCAL_SIZE")  # torchrun's name and DeepSpeed's
    parent = os.getppid() if "TORCHELASTIC_RUN_ID" in variables else None
    return Rank(int(number), int(world), launch, parent, int(local) if local.isdecimal() else 0, on_this_host == world)


def _task_of_srun(variables: Mapping[str, str]) -> Rank:
    """Return which task of a job step this is.

    The number of tasks is the step's own, which srun sets in what it starts. SLURM_NTASKS is set in a batch script, too, where
    one process runs by itself.
    """
    number, tasks = variables.get("SLURM_PROCID") or "", variables.get("SLURM_STEP_NUM_TASKS") or "1"
    if not (tasks.isdecimal() and number.isdecimal() and int(number) < int(tasks)) or tasks == "1":
        return Rank()
    launch = "/".join(variables.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"))
    hosts = variables.get("SLURM_STEP_NUM_NODES") or variables.get("SLURM_NNODES")
    return Rank(int(number), int(tasks), launch, local=int(variables.get("SLURM_LOCALID") or 0), one_host=hosts == "1")


class StepHold:
    """A process's hold on a step: alone, or beside the other ranks of its launch.

    Files in ``folder``: the step's own, held exclusively by a process alone and shared by ranks, which write there what launch
    they are and what they agree on; a gate, held while somebody comes or goes, so that what is asked and what is then taken is
    one act; one for each rank, so that none runs twice; and one for what they do by turns.
    """

    def __init__(self, folder: Path, step: str, rank: Rank) -> None:
        self._folder, self._step, self._rank = folder, step, rank
        self._files = ExitStack()
        self._held: IO[str] | None = None

    def __enter__(self) -> StepHold:
        """Take hold of the step.

        Raises:
            VolumeError: Another process has it, or the volume has no locks.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:  # closes them, and so lets go of them, unless all went well
            held = files.enter_context(self._open(""))
            with self._open(".gate") as gate:
                lock_file(gate, fcntl.LOCK_EX, self._folder)
                if self._rank.alone:
                    self._take(held, fcntl.LOCK_EX)
                    _rewrite(held, "")
                else:
                    self._join(held)
                    self._take(files.enter_context(self._open(f".rank{self._rank.number}")), fcntl.LOCK_EX)
            self._held, self._files = held, files.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def is_last(self) -> bool:
        """Return whether no other rank is at work on the step; then this one holds it alone from now on, else no longer."""
        assert self._held is not None
        with self._open(".gate") as gate:
            lock_file(gate, fcntl.LOCK_EX, self._folder)
            lock_file(self._held, fcntl.LOCK_UN, self._folder)
            return lock_file(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB, self._folder)

    def agrees(self, fact: str) -> bool:
        """Return whether this rank says of the step what the ranks before it said; the first one's word counts."""
        assert self._held is not None
        with self._open(".gate") as gate:
            lock_file(gate, fcntl.LOCK_EX, self._folder)
            launch, _, agreed = _read(self._held).partition("\n")
            if not agreed:
                _rewrite(self._held, f"{launch}\n{fact}")
            return agreed in ("", fact)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Keep the other ranks waiting: what one has found out and written down, the next one need not."""
        with self._open(".turn") as turn:
            lock_file(turn, fcntl.LOCK_EX, self._folder)
            yield

    def _join(self, held: IO[str]) -> None:
        """Share the step with the ranks of this launch."""
        launch = f"{self._rank.of} {self._rank.launch}"
        if lock_file(held, fcntl.LOCK_EX | fcntl.LOCK_NB, self._folder):  # nobody is here
            _rewrite(held, launch)
        elif _read(held).partition("\n")[0] != launch:
            raise self._busy()
        lock_file(held, fcntl.LOCK_SH, self._folder)  # waits at most for a rank of this launch that looks whether it was the last

    def _take(self, file: IO[str], how: int) -> None:
        if not lock_file(file, how | fcntl.LOCK_NB, self._folder):
            raise self._busy()

    def _busy(self) -> VolumeError:
        who = self._step if self._rank.alone else f"{self._step} ({self._rank})"
        return VolumeError(f"{who} is being run by another process on this volume; wait for it.")

    def _open(self, part: str) -> IO[str]:
        return (self._folder / f"{self._step}{part}").open("a+", encoding="utf-8")


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _rewrite(file: IO[str], text: str) -> None:
    file.truncate(0)
    file.write(text)  # opened for appending: goes to the end, which is the beginning now
    file.flush()
    os.fsync(file.fileno())
