"""Training in two processes on this machine: by `make train GPUS=2`, and as docs/clusters.md starts it on a Slurm cluster.

Slurm's own programs are stood for by two small scripts; what they start is the real thing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from toy import ROOT, command, environment, run

# Starts two tasks, as srun does on two hosts, and ends with the status of one that failed.
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
export SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=2 SLURM_LOCALID=0
for task in 0 1; do SLURM_PROCID=$task "$@" & tasks[task]=$!; done
status=0
for task in 0 1; do wait "${tasks[task]}" || status=$?; done
exit $status
"""
SCONTROL = """#!/bin/bash
[ "$*" = "show hostnames node[1-2]" ] && printf 'localhost\\nnode2\\n'
"""


def forget(volume: Path, *policies: str) -> None:
    """Delete policies and what says that they are there."""
    root = volume / "dataset_toy"
    for name in policies:
        shutil.rmtree(root / "runs" / name)
        (root / "manifests" / f"train-{name}.json").unlink()


def metrics(volume: Path, run: str, part: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (volume / "dataset_toy" / "runs" / run / part / "metrics.jsonl").read_text().splitlines()]


def policy(volume: Path, run: str = "sft") -> dict[str, bytes]:
    """Return the outputs of a training."""
    names = json.loads((volume / "dataset_toy" / "manifests" / f"train-{run}.json").read_text())["outputs"]
    return {name: (volume / name).read_bytes() for name in names}


def processes_of(volume: Path, run: str) -> int:
    return json.loads((volume / "dataset_toy" / "manifests" / f"train-{run}.json").read_text())["notes"]["processes"]


@pytest.fixture(scope="module")
def trained(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished volume with policies that two processes have trained."""
    volume = tmp_path_factory.mktemp("two") / "volume"
    shutil.copytree(finished, volume)
    forget(volume, "sft", "factscore")
    done = run("train", volume, "--gpus", "2")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return volume


@pytest.fixture
def untrained(trained: Path, tmp_path: Path) -> Path:
    """A volume on which everything but the training is done."""
    shutil.copytree(trained, tmp_path / "volume")
    forget(tmp_path / "volume", "sft", "factscore")
    return tmp_path / "volume"


@pytest.fixture
def slurm(tmp_path: Path, untrained: Path) -> dict[str, str]:
    """The variables of a job on two hosts, and the programs that start its tasks."""
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    job = {"SLURM_JOB_ID": f"{os.getpid()}", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
    own = {"RUN": "sft", "DATASET": "@data/definitions/toy.toml", "DATA": str(untrained), "GLOO_SOCKET_IFNAME": "lo"}
    return environment() | job | own | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def example(word: str) -> str:
    """Return the one example of docs/clusters.md that has a word."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL)
    found = [block for block in blocks if word in block]
    assert len(found) == 1, word
    return found[0].replace("--dataset bio", "--dataset @data/definitions/toy.toml")


def test_two_processes_train_policies_with_the_figures_of_one(finished: Path, trained: Path) -> None:
    for name, part in (("sft", "sft"), ("factscore", "dpo")):
        assert (processes_of(finished, name), processes_of(trained, name)) == (1, 2)
        one, two = metrics(finished, name, part), metrics(trained, name, part)
        assert [line["step"] for line in one] == [line["step"] for line in two] and one
        losses = [[line["loss"] for line in lines if "loss" in line] for lines in (one, two)]
        assert losses[0] and losses[1] == pytest.approx(losses[0], rel=1e-5)
    world = "dataset_toy/models/base/model.safetensors"
    assert (trained / world).read_bytes() == (finished / world).read_bytes()


def test_a_torchrun_on_each_host_of_a_slurm_job_trains_the_same_policy(trained: Path, untrained: Path, slurm: dict[str, str]) -> None:
    done = subprocess.run(["bash", "docs/train.sbatch"], cwd=ROOT, env=slurm, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert processes_of(untrained, "sft") == 2 and policy(untrained) == policy(trained)
    plan = run("plan", untrained)
    assert re.search(r"train-sft +dpo +up to date", plan.stdout), plan.stdout  # what the job wrote is what the pipeline would have written


def test_interrupted_as_by_ctrl_c_and_gone_on_with_by_tasks_of_srun_the_policy_is_the_same(trained: Path, untrained: Path, slurm: dict[str, str]) -> None:
    process = subprocess.Popen(
        command("train", untrained, "--gpus", "2"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    while "[train-sft] rank 0 of 2: not run yet" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    try:
        said += process.communicate(timeout=120)[0]
    except subprocess.TimeoutExpired:  # seen once in some hundred runs: what hangs is told, and does not stay
        alive = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,pgid,stat,wchan:24,args"], capture_output=True, text=True, check=False).stdout.splitlines()
        mine = [line for line in alive if str(untrained) in line]
        for line in mine:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        pytest.fail("after two minutes these have not ended:\n" + "\n".join(mine))
    assert process.returncode == 1 and "Traceback" not in said
    assert "interrupted. What was finished is kept" in said
    assert not [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if str(untrained).encode() in read_or_nothing(entry)]
    tasks = subprocess.run(["bash", "-euc", example("srun ")], cwd=ROOT, env=slurm, capture_output=True, text=True, check=False)
    assert tasks.returncode == 0, tasks.stdout[-3000:] + tasks.stderr[-3000:]
    assert processes_of(untrained, "sft") == 2 and policy(untrained) == policy(trained)


def read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""
