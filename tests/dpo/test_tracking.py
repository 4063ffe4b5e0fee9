"""Where figures go besides metrics.jsonl: event files, read back byte by byte, and Weights & Biases where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpo.tracking import Tracker
from volume.errors import UsageError
from volume.training_settings import TrackingSettings

EVENTS = TrackingSettings(tensorboard=True)
IDENTITY = "0123456789abcdef" * 4
TRAINING: dict[str, Any] = {"step": 10, "examples": 640, "loss": 0.5, "lr": 1e-4, "grad_norm": 2.0}
HELD_OUT: dict[str, Any] = {"step": 10, "examples": 640, "split": "dpoval", "loss": 0.625, "accuracy": 0.75}


def read_events(path: Path) -> list[Any]:
    """Read an event file: length, its checksum, a protocol buffer, its checksum, and so on."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(body)
        events.append(Event.FromString(body))
        data = data[16 + length :]
    return events


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return {name: (step, value) …} as TensorBoard shows it: a restart at a step hides what was written before of that step and later."""
    files = sorted((folder / "tensorboard").iterdir(), key=lambda path: int(path.name.rpartition(".")[2]))
    points: dict[str, list[tuple[int, float]]] = {}
    for event in (event for path in files for event in read_events(path)):
        if event.HasField("session_log"):
            points = {name: [point for point in kept if point[0] < event.step] for name, kept in points.items()}
        for value in event.summary.value:
            points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


def open_tracker(folder: Path, settings: TrackingSettings = EVENTS, resume_step: int = 0) -> Tracker:
    return Tracker(folder, settings, {"lr": 1e-4}, resume_step, IDENTITY)


def test_every_number_of_a_line_is_an_event_under_its_split(tmp_path: Path) -> None:
    with open_tracker(tmp_path) as tracker:
        tracker.write(TRAINING)
        tracker.write(HELD_OUT)
    assert shown(tmp_path) == {
        "train/examples": [(10, 640)], "train/loss": [(10, 0.5)], "train/lr": [(10, pytest.approx(1e-4))], "train/grad_norm": [(10, 2.0)],
        "dpoval/examples": [(10, 640)], "dpoval/loss": [(10, 0.625)], "dpoval/accuracy": [(10, 0.75)],
    }  # fmt: skip
    events = read_events(next((tmp_path / "tensorboard").iterdir()))
    assert events[0].file_version == "brain.Event:2"
    assert all(event.wall_time > 1.7e9 for event in events)


def test_a_line_is_on_the_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom dpo.tracking import Tracker\nfrom volume.training_settings import TrackingSettings\n"
        "tracker = Tracker(Path(sys.argv[1]), TrackingSettings(tensorboard=True), {}, 0, 'x' * 64)\n"
        "tracker.write({'step': 3, 'loss': 0.5})\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert shown(tmp_path) == {"train/loss": [(3, 0.5)]}


def test_a_resumed_run_shows_each_step_once_as_last_written(tmp_path: Path) -> None:
    first = open_tracker(tmp_path)
    for step in (1, 2, 3, 4, 5):
        first.write({"step": step, "loss": float(step)})
    with open_tracker(tmp_path, resume_step=3) as second:  # killed after step 5, its checkpoint is of step 3
        for step in (4, 5, 6):
            second.write({"step": step, "loss": step + 0.5})
    first.close()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2  # though both may begin in the same second
    assert shown(tmp_path) == {"train/loss": [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.5), (5, 5.5), (6, 6.5)]}


def test_a_run_that_starts_anew_drops_the_events_of_the_one_before_and_no_other_file(tmp_path: Path) -> None:
    with open_tracker(tmp_path) as tracker:
        tracker.write(TRAINING)
    (tmp_path / "tensorboard" / "notes.txt").write_text("mine")
    with open_tracker(tmp_path):
        pass
    (tmp_path / "tensorboard" / "notes.txt").unlink()
    assert shown(tmp_path) == {}


def test_where_the_settings_name_nothing_nothing_is_written(tmp_path: Path) -> None:
    with open_tracker(tmp_path / "run", TrackingSettings()) as tracker:
        tracker.write(TRAINING)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="Weights & Biases is installed")
def test_weights_and_biases_without_its_package_is_one_sentence_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"wandb_project = 'facttune', but .* not installed here.*Install wandb .* or leave wandb_project out"):
        open_tracker(tmp_path, TrackingSettings(wandb_project="facttune"))


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="Weights & Biases is not among the pinned packages")
def test_weights_and_biases_gets_the_lines_offline_and_a_resumed_run_goes_on_under_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder, settings = tmp_path / "factscore" / "dpo", TrackingSettings(wandb_project="facttune")
    with open_tracker(folder, settings) as tracker:
        tracker.write(TRAINING)
        tracker.write(HELD_OUT)
    lines = [json.dumps(line) for line in (TRAINING, HELD_OUT, {"step": 20, "loss": 0.25})]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 30, "lo')  # killed as it wrote
    with open_tracker(folder, settings, resume_step=10) as tracker:
        tracker.write({"step": 20, "loss": 0.125})
    first, second = (wandb_history(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")))
    assert all(path.parent.name.endswith(IDENTITY[:16]) for path in folder.glob("wandb/offline-run-*/run-*.wandb"))
    whole = {"train/loss": 0.5, "train/lr": 1e-4, "train/grad_norm": 2.0, "train/examples": 640, "dpoval/loss": 0.625, "dpoval/accuracy": 0.75, "dpoval/examples": 640}
    assert first == {10: whole}
    assert second == {10: whole, 20: {"train/loss": 0.125}}


def wandb_history(path: Path) -> dict[int, dict[str, float]]:
    """Return {step: figures} of an offline run's file: records in LevelDB's log format after seven bytes of its own."""
    from wandb.proto import wandb_internal_pb2

    data, position, record, history = path.read_bytes(), 7, b"", {}
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:  # no room for a header: the block is filled up
            position += 32768 - position % 32768
            continue
        _checksum, length, kind = struct.unpack("<IHB", data[position : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind not in (1, 4):  # whole, or the last part
            continue
        content, record = wandb_internal_pb2.Record.FromString(record), b""
        if content.WhichOneof("record_type") == "history":
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in content.history.item}
            history[int(items["_step"])] = {name: value for name, value in items.items() if not name.startswith("_")}
    return history
