"""The lines of metrics.jsonl, sent on to TensorBoard and Weights & Biases.

Event files hold times of day, so they are no outputs of a stage: no manifest names them and no run is stale for their sake.
metrics.jsonl is the record; what is here is a view of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from volume.errors import UsageError
from volume.training_settings import TrackingSettings

_EVENTS = "events.out.tfevents"


class Tracker:
    """Sends each line where the settings say; nowhere, if they name nothing."""

    def __init__(self, folder: Path, settings: TrackingSettings, config: dict[str, Any], resume_step: int, identity: str) -> None:
        """Open what the settings name; the first process alone does.

        Args:
            folder: The run's folder: event files go to tensorboard/ in it, those of Weights & Biases to wandb/.
            settings: Where to send.
            config: What Weights & Biases shows as the run's configuration.
            resume_step: Step of the checkpoint that training goes on from; 0 at a start. Later steps are shown once, as now written.
            identity: Hash of all that decides the run's bytes. A run that goes on keeps it, and so its place in Weights & Biases.

        Raises:
            UsageError: Weights & Biases is not installed or does not start.
        """
        self._events = _open_events(folder / "tensorboard", resume_step) if settings.tensorboard else None
        self._run = _open_wandb(folder, settings.wandb_project, config, identity) if settings.wandb_project else None
        if self._run is not None and resume_step:  # a kill takes along what lies in its buffer, and steps that it has it ignores
            for step, figures in _lines_up_to(folder / "metrics.jsonl", resume_step):
                self._run.log(figures, step=step)

    def write(self, line: Mapping[str, int | float | str]) -> None:
        """Send one line of metrics.jsonl."""
        step, figures = figures_of(line)
        if self._events is not None:
            from tensorboardX.proto.event_pb2 import Event
            from tensorboardX.summary import Summary

            values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
            self._events.write_event(_stamped(Event(step=step, summary=Summary(value=values))))
            self._events.flush()  # a killed run loses no line
        if self._run is not None:
            self._run.log(figures, step=step)

    def close(self) -> None:
        """Finish the files."""
        if self._events is not None:
            self._events.close()
        if self._run is not None:
            self._run.finish()
        self._events = self._run = None

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def figures_of(line: Mapping[str, int | float | str]) -> tuple[int, dict[str, float]]:
    """Return a line's step and its numbers: as train/loss and so on, or dpoval/loss where it names a split."""
    group = line.get("split", "train")
    return int(line["step"]), {f"{group}/{name}": float(value) for name, value in line.items() if name != "step" and not isinstance(value, str)}


def _lines_up_to(path: Path, last: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield step and numbers of the lines up to a step; what a killed run wrote after its checkpoint may end in half a line."""
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            step, figures = figures_of(json.loads(text))
        except ValueError:
            return
        if step > last:
            return
        yield step, figures


def _open_events(folder: Path, resume_step: int) -> Any:
    """Return a writer of event files that writes at once; tensorboardX's usual one leaves it to a thread, which a kill takes along.

    A start drops the event files of earlier runs. A resumed run opens a further file with TensorBoard's mark of a restart, at
    which what older files hold of this step and later is no longer shown.
    """
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    folder.mkdir(parents=True, exist_ok=True)
    if resume_step == 0:
        for path in folder.glob(f"{_EVENTS}*"):
            path.unlink()
    number = len(list(folder.glob(f"{_EVENTS}*")))  # names hold the second and the host: two starts may share both
    writer = EventsWriter(str(folder / "events"), f".{number}")
    if resume_step:
        writer.write_event(_stamped(Event(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START))))
    writer.flush()
    return writer


def _stamped(event: Any) -> Any:
    """Give an event the time of day."""
    event.wall_time = time.time()
    return event


def _open_wandb(folder: Path, project: str, config: dict[str, Any], identity: str) -> Any:
    """Return a run of Weights & Biases, offline unless WANDB_MODE says otherwise: stages have no network.

    Raises:
        UsageError: Its package is missing, or it does not start.
    """
    try:
        import wandb
    except ImportError as error:
        raise UsageError(
            f"tracking.wandb_project = {project!r}, but Weights & Biases is not installed here; it is not among the pinned packages. "
            "Install wandb into this environment, or leave wandb_project out and use tensorboard = true."
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return wandb.init(
            project=project, id=identity[:16], name=f"{folder.parent.name}-{folder.name}", dir=str(folder), config=config, resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
        )  # fmt: skip
    except (wandb.Error, OSError) as error:
        raise UsageError(f"Weights & Biases does not start: {error}. Set WANDB_MODE=offline, or leave tracking.wandb_project out.") from error
