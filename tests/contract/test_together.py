"""A stage that all processes of a launch work on together: one manifest, one message, one moment at which they stop.

The stage under test is `report` with other work: its ranks meet through files, as a training's meet through a network.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rank_stage import make_volume

STAGE = """
import os, sys, time
from pathlib import Path
from volume import peers
from volume.errors import UsageError, VolumeError
from volume.files import write_json
from volume.stage import run_together

peers._PATIENCE = float(os.environ.get("PATIENCE", "30"))

def produce(ctx):
    print("begins", flush=True)
    met = ctx.data_dir / "met"
    met.mkdir(exist_ok=True)
    (met / str(ctx.rank.number)).touch()
    fails = os.environ.get("FAILS", "").split(":", 2)
    if fails[0] in (str(ctx.rank.number), "all"):
        raise {"usage": UsageError, "volume": VolumeError, "runtime": RuntimeError}[fails[1]](fails[2])
    while len(list(met.iterdir())) < ctx.rank.of:
        time.sleep(0.01)
    while "WAIT" in os.environ and not ctx.interrupted:
        time.sleep(0.01)
    if ctx.interrupted:
        raise KeyboardInterrupt
    target = ctx.data_dir / "dataset_synth" / "report" / "index.html"
    if ctx.rank.number > 0:
        return []
    write_json(target, {})
    return [target]

sys.exit(run_together("report", produce))
"""


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return make_volume(tmp_path)


def start(volume: Path, rank: int = 0, of: int = 1, *words: str, **more: str) -> subprocess.Popen[str]:
    """Start a process of a launch."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    if of > 1:
        environment |= {"RANK": f"{rank}", "WORLD_SIZE": f"{of}", "LOCAL_RANK": f"{rank}", "MASTER_PORT": "1"}
    command = [sys.executable, "-c", STAGE, *words, "--dataset", "synth", "--data-dir", str(volume)]
    return subprocess.Popen(command, env=environment | more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_work(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "begins\n"


def stop_as_a_launcher_does(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Wait until a process has failed, stop the others, and return all statuses and messages."""
    while all(process.poll() in (None, 0) for process in processes):
        time.sleep(0.01)
    for process in processes:
        if process.poll() is None:
            process.terminate()
    said = [process.communicate()[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def manifest(volume: Path) -> Path:
    return volume / "dataset_synth" / "manifests" / "report.json"


def test_every_rank_works_and_rank_0_writes_the_manifest_with_the_number_of_processes(volume: Path) -> None:
    waiting = start(volume, 2, 3)
    wait_for_work(waiting)
    assert not manifest(volume).exists()
    processes = [waiting, *(start(volume, rank, 3, f"--local_rank={rank}") for rank in (1, 0))]  # DeepSpeed's launcher adds this word
    ended = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [said.count("begins") for said, _ in ended] == [0, 1, 1]  # the first one's is read already
    assert [text.count("wrote 1 file(s)") for _, text in ended] == [0, 0, 1] and ended[0][1] == ended[1][1] == ""
    written = json.loads(manifest(volume).read_text())
    assert written["notes"] == {"processes": 3} and list(written["outputs"]) == ["dataset_synth/report/index.html"]


def test_a_step_that_is_up_to_date_is_left_alone_by_every_rank_whoever_did_it(volume: Path) -> None:
    alone = start(volume)
    alone.communicate()
    assert alone.returncode == 0 and json.loads(manifest(volume).read_text())["notes"] == {"processes": 1}
    before = manifest(volume).stat().st_mtime_ns
    processes = [start(volume, rank, 2) for rank in range(2)]
    ended = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0] and [said for said, _ in ended] == ["", ""]
    assert "up to date" in ended[0][1] and ended[1][1] == ""
    assert manifest(volume).stat().st_mtime_ns == before


@pytest.mark.parametrize(("kind", "status"), [("usage", 2), ("volume", 1)])
def test_an_error_that_all_have_is_told_by_rank_0_alone(volume: Path, kind: str, status: int) -> None:
    late = start(volume, 1, 2, FAILS=f"all:{kind}:there is no such run")
    wait_for_work(late)
    first = start(volume, 0, 2, FAILS=f"all:{kind}:there is no such run")
    (code, said), (other_code, other_said) = stop_as_a_launcher_does([first, late])
    assert (code, other_code) == (status, status)
    assert said.count("error: there is no such run") == 1 and other_said == ""
    assert not manifest(volume).exists()


def test_an_error_of_one_rank_is_told_by_it_and_the_others_add_nothing(volume: Path) -> None:
    gone = "[pair.cc:534] Connection closed by peer [127.0.0.1]:4711"
    processes = [start(volume, 1, 2, FAILS="1:volume:the loss of step 7 is nan", PATIENCE="0.1"), start(volume, 0, 2, FAILS=f"0:runtime:{gone}")]
    wait_for_work(*processes)
    (code, said), (other_code, other_said) = stop_as_a_launcher_does(processes)
    assert (code, other_code) == (1, 1)
    assert said == "error: the loss of step 7 is nan\n" and "error" not in other_said and "Traceback" not in other_said


def test_where_nobody_stops_a_rank_whose_peer_has_gone_it_says_so_itself(volume: Path) -> None:
    process = start(volume, 1, 2, FAILS="1:runtime:Connection reset by peer", PATIENCE="0.1")
    said = process.communicate()[1]
    assert process.returncode == 1 and "Traceback" not in said
    assert "error: rank 1 of 2: another process of this run has ended" in said and "to go on from the last checkpoint" in said


def test_a_fault_that_has_nothing_to_do_with_peers_keeps_its_traceback(volume: Path) -> None:
    process = start(volume, 1, 2, FAILS="1:runtime:shapes do not fit")
    assert "RuntimeError: shapes do not fit" in process.communicate()[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_asked_to_stop_all_ranks_stop_and_one_says_so(volume: Path, number: signal.Signals) -> None:
    processes = [start(volume, rank, 2, WAIT="1") for rank in range(2)]
    wait_for_work(*processes)
    for process in processes:
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)  # torchrun hands on the Ctrl-C, and the pipeline sends SIGTERM besides
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert "interrupted. What was finished is kept" in said[0] and said[1] == ""


def test_a_second_ctrl_c_ends_a_process_that_does_not_look_whether_it_shall_stop(volume: Path) -> None:
    process = start(volume, 0, 2)  # waits for rank 1, whatever it is asked
    wait_for_work(process)
    for number in (signal.SIGINT, signal.SIGTERM):  # at a terminal both come: the second is the pipeline's
        process.send_signal(number)
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate()[1] and process.returncode == 1


def test_a_rank_with_other_packages_is_refused_before_it_meets_the_others(volume: Path) -> None:
    first = start(volume, 0, 2, FACTTUNE_ENV="csenv", FACTTUNE_LOCK_SHA256="a")
    wait_for_work(first)
    second = start(volume, 1, 2, FACTTUNE_ENV="csenv", FACTTUNE_LOCK_SHA256="b", PATIENCE="0.1")
    said, text = second.communicate()
    assert second.returncode == 2 and said == ""
    assert "rank 1 of 2 finds other inputs, settings, code or packages for report than a rank before it" in text
    first.kill()
    first.communicate()
