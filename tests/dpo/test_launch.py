"""The stage in two processes on this machine, by every launcher: torchrun as the pipeline has it, DeepSpeed's own, and tasks of srun.

All of them must write the same bytes, so that a training can be stopped under one and gone on with under another. Other hosts
are stood for by this one: what reaches them, ssh and pdsh, are two small scripts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpo.processes import start_processes
from volume.command import stage_command
from volume.datasets import load_definition
from volume.errors import UsageError
from volume.paths import DatasetPaths
from volume.steps import build_steps

DOCS = Path(__file__).resolve().parents[2] / "docs" / "clusters.md"
STEPS = 60
DEFINITION = """
name = "launch"
description = "one supervised run, long enough to be stopped"
splits = ["train", "dpoval"]
[knowledge]
path = "knowledge.db"
[models.base]
path = "models/base"
[responses]
model = "base"
n = 4
max_new_tokens = 8
[facts]
backend = "rules"
[retrieval]
backend = "bm25"
[verifier]
backend = "lexical"
[questions]
backend = "rules"
[answers]
model = "base"
n = 4
max_new_tokens = 8
[sft]
epochs = 12
batch_size = 5
lr = 1e-2
optimizer = "adamw"
warmup_steps = 0
max_length = 40
max_prompt_length = 12
log_every = 1
checkpoint_every = 10
[runs.sft]
kind = "sft"
label = "SFT"
[eval]
split = "dpoval"
"""
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME", "DS_ACCELERATOR")

SSH = """#!/bin/bash
case "${*: -1}" in -I) echo 127.0.0.1;; esac
"""
# pdsh -S -f 1024 -w node1,node2 words …: a shell for each host, with nothing of this one's variables.
PDSH = """#!/bin/bash
while [[ $1 == -* ]]; do
    case $1 in -S) shift;; -w) hosts=${2//,/ }; shift 2;; *) shift 2;; esac
done
words="$*" number=0 status=0
for host in $hosts; do
    env -i HOME="$HOME" PATH=/usr/bin:/bin sh -c "${words//%n/$number}" & shells+=($!)
    number=$((number + 1))
done
for shell in "${shells[@]}"; do wait "$shell" || status=$?; done
exit $status
"""


def variables(**more: str) -> dict[str, str]:
    """Return the environment of a launcher: nothing has launched it, and its programs are those beside this Python."""
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHERS and not name.startswith("SLURM_")}
    packages = os.pathsep.join(str(Path(part).resolve()) for part in os.environ["PYTHONPATH"].split(os.pathsep))
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": packages, "OMP_NUM_THREADS": "1"} | more


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def make_volume(folder: Path, world: Path, start: Path) -> Path:
    """Write a volume on which a supervised run can be trained."""
    shutil.copytree(start, folder / "models" / "base")
    for split in ("train", "dpoval"):
        (folder / "dataset_launch" / "rewards").mkdir(parents=True, exist_ok=True)
        shutil.copy(world / f"rewards_{split}_6.json", folder / "dataset_launch" / "rewards")
    (folder / "definitions").mkdir()
    (folder / "definitions" / "launch.toml").write_text(DEFINITION)
    return folder


def torchrun(volume: Path) -> list[str]:
    """Return the command of `make train GPUS=2`."""
    path = volume / "definitions" / "launch.toml"
    definition = load_definition(str(path))
    step = build_steps(definition, DatasetPaths(volume / "dataset_launch"), volume)["train-sft"]
    given = argparse.Namespace(dataset=str(path), data_dir=volume, gpus=2, seed=None, scale=None, limit=None, llm_mode="record", max_cost=None)
    words = [word.replace("@data", str(volume)) for word in stage_command(step, definition, given)]
    return [sys.executable, *words[1:]]


def stage(volume: Path) -> list[str]:
    return ["-m", "dpo.train", "--dataset", str(volume / "definitions" / "launch.toml"), "--data-dir", str(volume), "--run", "sft"]


def launch(command: list[str], **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=variables(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def told(process: subprocess.Popen[str]) -> str:
    """Wait for the end and return what was said; the process must have ended well."""
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return said


def log(volume: Path) -> Path:
    return volume / "dataset_launch" / "runs" / "sft" / "sft"


def manifest(volume: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((volume / "dataset_launch" / "manifests" / "train-sft.json").read_text())
    return found


def wait_for_steps(volume: Path, process: subprocess.Popen[str], steps: int) -> None:
    """Wait until so many steps of training are done."""
    metrics = log(volume) / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < steps:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def find_ranks(volume: Path) -> dict[int, int]:
    """Return {rank: process id} of the processes that train on a volume."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, environ = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:  # it has ended
            continue
        ranks = [line[5:] for line in environ if line.startswith(b"RANK=")]
        if ranks and str(volume).encode() in words:
            found[int(ranks[0])] = int(folder.name)
    return found


@pytest.fixture
def volume(tmp_path: Path, world: Path, start: Path) -> Path:
    return make_volume(tmp_path / "volume", world, start)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, world: Path, start: Path) -> dict[str, str]:
    """{file: hash} of what two processes write that nothing interrupts."""
    whole = make_volume(tmp_path_factory.mktemp("whole"), world, start)
    said = told(launch(torchrun(whole)))
    assert said.count(f"{STEPS} steps; ") == 1 and manifest(whole)["notes"] == {"processes": 2}
    return dict(manifest(whole)["outputs"])  # type: ignore[call-overload, no-any-return]


@pytest.mark.skipif(" " in sys.executable, reason="DeepSpeed's launcher hands the Python's path to the hosts' shells unquoted")
def test_told_to_stop_all_processes_save_one_step_and_a_hostfile_of_two_hosts_goes_on_from_it(volume: Path, outputs: dict[str, str], tmp_path: Path) -> None:
    process = launch(torchrun(volume))
    wait_for_steps(volume, process, 12)
    process.terminate()
    said = process.communicate()[0]
    assert process.returncode == 1 and "Traceback" not in said
    assert said.count("interrupted. What was finished is kept") == 1 and find_ranks(volume) == {}
    stopped = re.findall(rf"stopped after step (\d+) of {STEPS}; a checkpoint is written", said)
    assert len(stopped) == 1
    assert [path.name for path in (log(volume) / "checkpoints").iterdir()] == [f"step_{int(stopped[0]):08}"]

    for name, text in {"ssh": SSH, "pdsh": PDSH}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    hosts, commands = re.findall(r"```(?:sh)?\n(node1 .*?)```\n\n```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)[0]
    (volume / "hosts.txt").write_text(hosts.replace("slots=8", "slots=1"))
    own = variables(FACTTUNE_ENGINE="the engine's")
    own["PATH"] = f"{tmp_path}:{own['PATH']}"
    for line in commands.splitlines():
        words = shlex.split(line.partition(" -- ")[2])  # what the engine runs in the volume's folder
        words = [word.replace("bio", "@data/definitions/launch.toml").replace("@data", str(volume)) for word in words]
        words[1:1] = ["--master_port", free_port()] if words[0] == "deepspeed" else []
        done = subprocess.run(words, cwd=volume, env=own, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert f"goes on at step {stopped[0]} of {STEPS}" in done.stderr
    assert manifest(volume)["outputs"] == outputs
    assert manifest(volume)["environment"]["engine"] == "the engine's"  # type: ignore[index]


def test_a_killed_process_ends_the_others_and_deepspeed_s_launcher_goes_on_from_the_checkpoint(volume: Path, outputs: dict[str, str]) -> None:
    process = launch(torchrun(volume))
    wait_for_steps(volume, process, 12)
    os.kill(find_ranks(volume)[1], signal.SIGKILL)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "Traceback" not in said
    assert said.count("error: ") == 1 and "error: process 1 was killed (SIGKILL; if nobody did it, the machine ran out of memory)" in said
    assert find_ranks(volume) == {}

    (volume / "hosts.txt").write_text("localhost slots=2\n")
    options = ["--hostfile", str(volume / "hosts.txt"), "--no_ssh_check", "--master_addr", "127.0.0.1", "--master_port", free_port()]
    assert all(option in DOCS.read_text() for option in ("--no_ssh_check", "--master_addr 127.0.0.1"))
    said = told(launch(["deepspeed", *options, "--module", *stage(volume)[1:]]))
    assert re.search(rf"goes on at step [1-9]0 of {STEPS}", said)
    assert manifest(volume)["outputs"] == outputs


def test_an_error_that_all_processes_have_is_one_message_and_keeps_its_status(volume: Path) -> None:
    shutil.rmtree(volume / "dataset_launch" / "rewards")
    process = launch(torchrun(volume))
    said = process.communicate()[0]
    assert process.returncode == 2 and "Traceback" not in said
    assert said.count("error: ") == said.count("error: no rewards file for split 'train'") == 1


def test_without_an_address_processes_of_srun_are_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"rank 1 of 2: .* Set MASTER_ADDR to the name of the host that has rank 0"):
        start_processes()


def test_a_process_whose_peer_does_not_come_names_the_address_and_the_remedy() -> None:
    code = "import datetime, dpo.processes as p; from volume.errors import tell_errors; p._PATIENCE = datetime.timedelta(seconds=1); tell_errors(p.start_processes)"
    port = free_port()
    alone = variables(RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    said = subprocess.run([sys.executable, "-c", code], env=alone, capture_output=True, text=True, check=False).stderr
    assert f"error: rank 0 of 2: the 2 processes cannot meet at 127.0.0.1, port {port}: " in said and "docs/clusters.md" in said and "Traceback" not in said
