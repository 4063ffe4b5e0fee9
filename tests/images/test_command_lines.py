"""What docker, podman and apptainer are told: who a stage runs as, what it sees, and what stands on no command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from engines import ROOT, Engine  # first: it puts docker/ on the path
from fake_engine import FakeEngine, options

import containers  # isort: skip
import running  # isort: skip
from common import Settings  # isort: skip

STAGE = ("--", "python", "-m", "confscoring.rewards", "--data-dir", "@data")
FILLED = ["/opt/facttune/bin/python", "-m", "confscoring.rewards", "--data-dir", "/data"]


def known(fakes: FakeEngine, tmp_path: Path) -> str:
    """Let the engines have csenv's image; return its name."""
    name = containers.image_name(Settings("docker", "paper", ROOT, tmp_path, tmp_path), "csenv")
    fakes.has(name)
    return name


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_stage_runs_as_the_caller_without_network_on_a_volume_whose_path_has_a_space(
    fakes: FakeEngine, fake_run: Engine, tmp_path: Path, engine: str
) -> None:
    known(fakes.add(engine), tmp_path)
    done = fake_run("run", "csenv", *STAGE, ENGINE=engine)
    assert done.returncode == 7, done.stderr  # the container's own status
    (call,) = fakes.calls(engine, "run")
    own = "0:0" if engine == "podman" and os.getuid() else f"{os.getuid()}:{os.getgid()}"
    assert {("--network", "none"), ("--user", own), ("--volume", f"{tmp_path}/a volume:/data"), ("--shm-size", "1g")} <= options(call)
    assert call["argv"][-8:] == ["sha256:1234", "tini", "--", *FILLED]
    assert "HF_HUB_OFFLINE=1" in call["argv"] and "HOME=/data/cache/home" in call["argv"] and "HF_HOME=/data/cache/huggingface" in call["argv"]
    assert (("--security-opt", "label=disable") in options(call)) == (engine == "podman")
    assert "--interactive" not in call["argv"]


def test_a_key_comes_in_on_standard_input_and_stands_on_no_command_line(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    known(fakes.add("docker"), tmp_path)
    fake_run("run", "csenv", "--pass", "ONE_KEY", "--pass", "TWO_KEY", *STAGE, ENGINE="docker", ONE_KEY="a secret $HOME", TWO_KEY="another")
    (call,) = fakes.calls("docker", "run")
    assert call["stdin"] == "a secret $HOME\nanother\n"
    assert "secret" not in " ".join(call["argv"]) and not [word for word in call["argv"] if word.startswith(("ONE_KEY", "TWO_KEY"))]
    assert call["argv"][call["argv"].index("sh") + 3 :] == ["sh", *FILLED]


def test_only_a_stage_that_asks_for_the_network_gets_it(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    known(fakes.add("docker"), tmp_path)
    fake_run("run", "csenv", "--network", "host", "--", "true", ENGINE="docker")
    (call,) = fakes.calls("docker", "run")
    assert ("--network", "host") in options(call) and "HF_HUB_OFFLINE=1" not in call["argv"]


@pytest.mark.parametrize(
    ("variables", "path", "message"),
    [({"A_KEY": "two\nlines"}, "a volume", "A_KEY holds a line break"), ({"A_KEY": "key"}, "a:volume", "a container cannot be given a folder with ':'")],
)
def test_what_an_engine_cannot_take_is_refused(
    fakes: FakeEngine, fake_run: Engine, tmp_path: Path, variables: dict[str, str], path: str, message: str
) -> None:
    known(fakes.add("docker"), tmp_path)
    done = fake_run("run", "csenv", "--pass", "A_KEY", *STAGE, ENGINE="docker", DATA=str(tmp_path / path), **variables)
    assert done.returncode == 2 and message in done.stderr and not fakes.calls("docker", "run")


def test_with_a_docker_that_runs_without_root_files_belong_to_the_caller_as_its_root(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    known(fakes.add("docker", info="[name=seccomp,profile=default name=rootless]"), tmp_path)
    fake_run("run", "csenv", *STAGE, ENGINE="docker")
    assert ("--user", "0:0") in options(fakes.calls("docker", "run")[0])


def test_so_they_do_with_podman_which_may_not_raise_limits_then(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    settings = Settings("podman", "paper", ROOT, tmp_path, tmp_path)
    words = running.container_command(settings, "csenv", "1234", ["true"], {}, "none", [], gpu=True)
    assert words[words.index("--user") + 1] == "0:0" and "--ulimit" not in words
    assert words[words.index("--device") + 1] == "nvidia.com/gpu=all"


def test_a_group_that_shares_the_volume_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "getgid", lambda: 100)
    monkeypatch.setattr(os, "getgroups", lambda: [100, 2001])
    monkeypatch.setattr(running, "maps_root_to_caller", lambda engine: False)
    words = running.container_command(Settings("docker", "paper", ROOT, tmp_path, tmp_path), "csenv", "1234", ["true"], {}, "none", [], gpu=False)
    assert [words[place + 1] for place, word in enumerate(words) if word == "--group-add"] == ["2001"]


PASSED_ON = {
    "docker": [("--gpus", "all"), ("--shm-size", "16g"), ("--ulimit", "memlock=-1"), ("--ulimit", "stack=67108864")],
    "podman": [("--device", "nvidia.com/gpu=all"), ("--shm-size", "16g")],
    "apptainer": [("--nv", "--net")],
}


@pytest.mark.parametrize("engine", PASSED_ON)
def test_cards_are_passed_on_with_what_nccl_needs(fakes: FakeEngine, fake_run: Engine, tmp_path: Path, engine: str) -> None:
    made(fakes.add(engine), tmp_path, engine)
    fakes.program("nvidia-smi", "#!/bin/sh\nexit 0\n")
    fake_run("run", "csenv", *STAGE, ENGINE=engine, CUDA_VISIBLE_DEVICES="0,1")
    (call,) = fakes.calls(engine, "exec" if engine == "apptainer" else "run")
    assert set(PASSED_ON[engine]) <= options(call)
    told = call["variables"]["APPTAINERENV_CUDA_VISIBLE_DEVICES"] if engine == "apptainer" else next(w for w in call["argv"] if w.startswith("CUDA_V"))
    assert told.endswith("0,1") and "NVIDIA_VISIBLE_DEVICES=void" not in call["argv"]


@pytest.mark.parametrize("engine", PASSED_ON)
@pytest.mark.parametrize("hidden", ["", "none", "-1"])
def test_no_card_is_passed_on_where_the_caller_hides_them(fakes: FakeEngine, fake_run: Engine, tmp_path: Path, engine: str, hidden: str) -> None:
    made(fakes.add(engine), tmp_path, engine)
    fakes.program("nvidia-smi", "#!/bin/sh\nexit 0\n")
    fake_run("run", "csenv", *STAGE, ENGINE=engine, CUDA_VISIBLE_DEVICES=hidden)
    (call,) = fakes.calls(engine, "exec" if engine == "apptainer" else "run")
    assert not {"--gpus", "--device", "--nv", "--ulimit"} & set(call["argv"])
    assert engine == "apptainer" or {("--env", "NVIDIA_VISIBLE_DEVICES=void"), ("--env", f"CUDA_VISIBLE_DEVICES={hidden}")} <= options(call)


def test_a_portable_run_gets_no_card(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    known(fakes.add("docker"), tmp_path)
    fakes.program("nvidia-smi", "#!/bin/sh\nexit 0\n")
    fake_run("run", "csenv", "--device", "portable", *STAGE, ENGINE="docker")
    assert "--gpus" not in fakes.calls("docker", "run")[0]["argv"]


def test_without_a_working_card_none_is_asked_for(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    known(fakes.add("docker"), tmp_path)
    fakes.program("nvidia-smi", "#!/bin/sh\necho no driver\nexit 9\n")
    fake_run("run", "csenv", *STAGE, ENGINE="docker")
    assert "--gpus" not in fakes.calls("docker", "run")[0]["argv"]


def made(fakes: FakeEngine, tmp_path: Path, engine: str) -> Path:
    """Let any engine have csenv's image; return apptainer's file of it."""
    known(fakes, tmp_path)
    sif = containers.sif_file(Settings(engine, "paper", ROOT, tmp_path / "a volume", tmp_path / "some envs"), "csenv")
    if engine == "apptainer":
        sif.parent.mkdir()
        sif.touch()
    return sif


def test_apptainer_gets_values_with_commas_and_keys_whole_and_on_no_command_line(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    sif = made(fakes.add("apptainer"), tmp_path, "apptainer")
    done = fake_run("run", "csenv", "--pass", "A_KEY", *STAGE, ENGINE="apptainer", A_KEY="secret,$HOME", CUDA_VISIBLE_DEVICES="0,1")
    assert done.returncode == 7, done.stderr
    (call,) = fakes.calls("apptainer", "exec")
    assert call["variables"]["APPTAINERENV_A_KEY"] == "secret,$HOME" and "secret" not in " ".join(call["argv"])
    assert call["variables"]["APPTAINERENV_OMP_NUM_THREADS"] == "1" and "APPTAINERENV_HOME" not in call["variables"]  # it cannot be set so
    assert {"--cleanenv", "--no-eval", "--containall", "--no-home"} <= set(call["argv"])
    assert {("--bind", f"{tmp_path}/a volume:/data"), ("--pwd", "/data"), ("--network", "none")} <= options(call)
    assert call["argv"][-8:] == [str(sif), "env", "HOME=/data/cache/home", *FILLED]
    assert not Path(call["argv"][call["argv"].index("--workdir") + 1]).exists()  # its /tmp is gone with it


def test_a_container_whose_adapter_was_killed_is_removed_before_the_next_one_starts(fakes: FakeEngine, fake_run: Engine, tmp_path: Path) -> None:
    alive = f"{os.getpid()}-{running._started(os.getpid())}"
    host = running._host()
    names = [f"facttune-csenv-{host}-{alive}", f"facttune-csenv-{host}-{os.getpid()}-1", f"facttune-csenv-{host}-4194304-5", "facttune-csenv-elsewhere-4194304-5"]
    known(fakes.add("docker", listed="\n".join(names)), tmp_path)
    done = fake_run("run", "csenv", *STAGE, ENGINE="docker")
    assert [call["argv"][-1] for call in fakes.calls("docker", "kill")] == names[1:3] and names[1] in done.stdout
    (listing,) = fakes.calls("docker", "ps")
    (call,) = fakes.calls("docker", "run")
    assert ("--filter", f"label=org.facttune.volume={tmp_path}/a volume") in options(listing)
    assert ("--label", f"org.facttune.volume={tmp_path}/a volume") in options(call)
