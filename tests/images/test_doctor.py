"""What is looked at before work starts: engines, disks, ports, memory and what a dataset needs, on hosts made of small programs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from engines import ROOT
from fake_host import FakeHost, docker_program

sys.path.insert(0, str(ROOT / "volume" / "src"))

from checks.basics import Answer, Finding, ask  # noqa: E402
from checks.cards import Card  # noqa: E402
from checks.engines import choose_engine, judge_engines, look_at_engines, read_engine  # noqa: E402
from checks.inside import probe, read_probe  # noqa: E402
from checks.machine import judge_clock, judge_library, judge_processor, judge_programs, memory_limit, read_memory  # noqa: E402
from checks.needs import count_parameters, heaviest_load, judge_memory, training_gib  # noqa: E402
from checks.places import Need, Written, judge_disks, judge_loopback, judge_server, judge_shared_memory, judge_writing, local_server, write_once  # noqa: E402
from common import Settings  # noqa: E402
from venvs import venv_folder  # noqa: E402

from volume.datasets import load_definition  # noqa: E402
from volume.training_settings import OptimSettings  # noqa: E402


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host without cards and engines; this process's own PATH, too."""
    made = FakeHost(tmp_path)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", str(made.bin))
    return made


def settings(host: FakeHost, engine: str = "venv") -> Settings:
    return Settings(engine, "paper", ROOT, host.data, host.envs)


def make_environments(host: FakeHost) -> None:
    """Let this Python pass for all environments."""
    for env in ("fsenv", "csenv", "dpo"):
        folder = venv_folder(settings(host), env)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)
        (folder / ".complete").write_text("")


def test_an_engine_whose_daemon_hangs_is_passed_over_and_the_doctor_says_so(host: FakeHost) -> None:
    host.program("docker", "#!/bin/sh\n/bin/sleep 30\n")
    host.program("apptainer", "#!/bin/sh\necho apptainer version 1.3.4\n")
    engines = look_at_engines(patience=0.3)
    assert choose_engine("auto", engines) == "apptainer" and engines["apptainer"].version == "1.3.4"
    marks = [(finding.mark, finding.what) for finding in judge_engines("auto", engines)]
    assert marks[1][0] == "warning" and "docker is installed, but its daemon did not answer within 0.3 s" in marks[1][1]
    (first, *_) = judge_engines("docker", engines)
    assert first.mark == "missing" and "ENGINE=venv" in first.remedy


@pytest.mark.parametrize(
    ("said", "fault", "remedy"),
    [("permission denied while trying to connect", "permission denied", "usermod"), ("Cannot connect to the Docker daemon", "does not answer", "systemctl start docker")],
)
def test_why_docker_does_not_answer_decides_the_remedy(said: str, fault: str, remedy: str) -> None:
    engines = {"docker": read_engine("docker", Answer(1, '""', said), 1), **{name: read_engine(name, Answer(0, "{}"), 1) for name in ("podman", "apptainer")}}
    (first, *_) = judge_engines("docker", engines)
    assert fault in first.what and remedy in first.remedy


def test_an_engine_tells_where_its_images_lie_and_whether_it_knows_nvidias_runtime() -> None:
    told = {"ServerVersion": "28", "DockerRootDir": "/s", "Runtimes": {"nvidia": {}}}
    docker = read_engine("docker", Answer(0, json.dumps(told)), 1)
    told = {"version": {"Version": "4.3.1"}, "store": {"graphRoot": "/g"}}
    podman = read_engine("podman", Answer(0, json.dumps(told)), 1)
    assert (docker.store, docker.version, docker.nvidia) == (Path("/s"), "28", True)
    assert (podman.store, podman.version, podman.nvidia) == (Path("/g"), "4.3.1", False)
    assert "cannot be read" in read_engine("docker", Answer(0, "<html>"), 1).fault


@pytest.mark.parametrize(
    ("stage", "optimizer", "offload", "processes", "card", "memory"),
    [  # the table of docs/training.md, "Memory"
        (2, "rmsprop", "none", 1, 87.9, 0), (2, "rmsprop", "none", 2, 50.2, 0), (2, "rmsprop", "none", 8, 22.0, 0), (2, "adamw", "none", 1, 113.0, 0),
        (3, "rmsprop", "none", 4, 22.0, 0), (2, "rmsprop", "optimizer", 1, 12.6, 75.3),
    ],
)  # fmt: skip
def test_the_memory_of_training_is_that_of_the_documentation(stage: int, optimizer: str, offload: str, processes: int, card: float, memory: float) -> None:
    on_card, on_host = training_gib(6.74e9, OptimSettings(dtype="bfloat16", zero_stage=stage, optimizer=optimizer, offload=offload), processes)
    assert on_card == pytest.approx(card, abs=0.1) and on_host == pytest.approx(memory, abs=0.2)


def test_weights_and_training_are_held_against_the_card_and_the_host() -> None:
    bio = load_definition("bio")
    load = heaviest_load(bio)
    assert load and load.gib == 12.6 and count_parameters(bio.models["llama1"]) == pytest.approx(6.76e9, rel=0.01)

    def marks(gib: int, processes: int, memory: float) -> list[str]:
        cards = [Card(index, "", "card", (535,), gib * 1024, gib * 1024, False, (8, 0)) for index in range(processes)]
        return [finding.mark for finding in judge_memory(bio, cards, processes, 1, memory, memory)]

    assert marks(80, 2, 128) == ["ok", "ok", "ok"]  # as the definition's own comment says
    assert marks(80, 1, 128) == ["ok", "ok", "warning"]
    assert marks(8, 1, 128)[1] == "missing"
    assert marks(80, 2, 20)[0] == "warning" and marks(80, 1, 10)[0] == "missing"
    busy = [Card(0, "", "card", (535,), 141 * 1024, 5 * 1024, False, (9, 0))]
    assert [finding.mark for finding in judge_memory(bio, busy, 1, 1, 128, 128)] == ["ok", "warning", "ok"]


def test_a_small_model_needs_memory_for_the_processes_side_by_side() -> None:
    synth = load_definition("synth")
    assert [finding.mark for finding in judge_memory(synth, [], 1, 4, 8.0, 8.0)] == ["ok"]
    (finding,) = judge_memory(synth, [], 1, 16, 8.0, 8.0)
    assert finding.mark == "warning" and "JOBS=8" in finding.remedy


def test_what_is_made_on_one_disk_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=20 * 2**30))
    volume, store = Need("the volume", tmp_path / "data", 15), Need("environments", tmp_path / "envs", 9)
    assert [finding.mark for finding in judge_disks([volume])] == ["ok"]
    (finding,) = judge_disks([volume, store])
    assert finding.mark == "missing" and "free 4.0 GiB more, or set DATA or ENVS" in finding.remedy


def test_what_another_user_owns_is_a_warning_and_a_disk_without_locks_is_missing(tmp_path: Path) -> None:
    written = write_once(tmp_path / "not made yet")
    assert written == Written(owner=os.getuid()) and list(tmp_path.iterdir()) == []
    assert [finding.mark for finding in judge_writing(tmp_path, written)] == ["ok"]
    (finding,) = judge_writing(tmp_path, Written(owner=os.getuid() + 1), "a container of docker")
    assert finding.mark == "warning" and f"belongs to user {os.getuid() + 1}, not to you" in finding.what
    assert judge_writing(tmp_path, Written(owner=os.getuid(), locks=False))[0].mark == "missing"


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_full_or_read_only_shows_when_it_is_written(tmp_path: Path) -> None:
    if ask(["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]).status != 0:
        pytest.skip("nothing can be mounted here")
    try:
        (tmp_path / "filling").write_bytes(b"\0" * 64 * 1024)
        assert "No space left" in write_once(tmp_path / "data").fault
        ask(["/bin/mount", "-o", "remount,ro", str(tmp_path)])
        assert "Read-only file system" in write_once(tmp_path / "data").fault
    finally:
        ask(["/bin/umount", str(tmp_path)])


def test_shared_memory_is_looked_at_where_processes_exchange_data_through_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**26))
    assert judge_shared_memory(1, "venv", tmp_path) == [] and judge_shared_memory(2, "docker", tmp_path) == []
    (finding,) = judge_shared_memory(2, "venv", tmp_path)
    assert finding.mark == "warning" and "remount" in finding.remedy


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000/v1", ("localhost", 8000)), ("http://192.168.1.5/v1", ("192.168.1.5", 80)), ("https://[::1]:9/v1", ("::1", 9)),
        ("https://api.example.com/v1", None), ("https://8.8.8.8/v1", None), ("http://localhost:x/v1", None), ("", None),
    ],
)  # fmt: skip
def test_only_servers_beside_this_host_are_called(url: str, expected: tuple[str, int] | None) -> None:
    assert local_server(url) == expected


def test_a_server_that_listens_is_told_from_one_that_does_not_and_a_port_in_use_from_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert [finding.mark for finding in judge_server("llm", f"http://127.0.0.1:{port}/v1")] == ["ok"]
        (finding,) = judge_loopback(1, {"MASTER_PORT": str(port)})
        assert finding.mark == "missing" and f"{port} (MASTER_PORT)" in finding.what and "Address already in use" in finding.what
    (finding,) = judge_server("llm", f"http://127.0.0.1:{port}/v1")
    assert finding.mark == "missing" and "Connection refused" in finding.what
    assert judge_loopback(1, {}) == [] and [finding.mark for finding in judge_loopback(2, {})] == ["ok"]
    assert judge_loopback(1, {"MASTER_PORT": "many"})[0].mark == "missing"


def test_memory_is_what_a_batch_system_leaves_of_it(tmp_path: Path) -> None:
    assert read_memory("MemTotal:       4194304 kB\nMemFree: 1 kB\nMemAvailable:   2097152 kB\n") == (4.0, 2.0)
    (tmp_path / "job" / "step").mkdir(parents=True)
    (tmp_path / "job" / "memory.max").write_text("3221225472\n")
    (tmp_path / "job" / "step" / "memory.max").write_text("max\n")
    assert memory_limit("0::/job/step\n", tmp_path) == 3.0
    assert memory_limit("0::/elsewhere\n", tmp_path) == float("inf")


def test_what_is_wrong_with_the_machine_has_a_remedy() -> None:
    make, git, commit = Answer(0, "GNU Make 4.3\n"), Answer(0, "git version 2.39.5\n"), Answer(0, "19e9cefd595e\n")
    good = [*judge_processor("x86_64", "fpu avx2", 2, True), *judge_library("glibc", "2.36"), *judge_programs((3, 11, 2), make, git, commit), *judge_clock(2e9, 1e9)]
    assert {finding.mark for finding in good} == {"ok"}
    bad = [
        *judge_processor("aarch64", "", 2, True), *judge_processor("x86_64", "fpu avx", 2, True), *judge_library("glibc", "2.17"), *judge_library("", ""),
        *judge_programs((3, 10, 1), Answer(0, "GNU Make 3.81"), Answer(None), commit),
        *judge_programs((3, 12, 1), make, git, Answer(128, "", "detected dubious ownership")),
        *judge_clock(1e9, 2e9),
    ]  # fmt: skip
    told = [finding for finding in bad if finding.mark != "ok"]
    assert [finding.mark for finding in told] == ["missing", "warning", "missing", "missing", "missing", "missing", "warning", "warning", "warning"]
    assert all(finding.remedy for finding in told) and "safe.directory" in told[-2].remedy


def answer_of(**fields: object) -> Answer:
    told = {"torch": "2.0.1", "cards": 0, "devices": [{"name": "CPU", "fault": ""}], **fields}
    return Answer(0, f"a warning of a library\n{json.dumps(told)}\n")


def test_what_ran_inside_is_told_from_what_did_not(host: FakeHost) -> None:
    def told(answer: Answer, cards: int = 0) -> Finding:
        (finding,) = read_probe(settings(host, engine="docker"), "csenv", cards, answer, 1)
        return finding

    assert told(answer_of()).mark == "ok" and "on the CPU" in told(answer_of()).what
    unseen = told(answer_of(), cards=2)
    assert unseen.mark == "missing" and "sees 0 of 2" in unseen.what and "NVIDIA Container Toolkit" in unseen.remedy
    failed = told(answer_of(cards=1, devices=[{"name": "H100", "fault": "no kernel image is available"}]), cards=1)
    assert failed.mark == "missing" and "no kernel image" in failed.what
    assert told(Answer(125, "", "could not select device driver"), cards=1).mark == "missing"
    assert "did not end within" in told(Answer(None, hung=True)).what


def test_an_environment_that_exists_is_entered_on_a_volume_of_its_own(host: FakeHost) -> None:
    make_environments(host)
    (finding,) = probe(settings(host), "csenv", 0)
    assert "torch" in finding.what.lower()  # its version, or that this Python has none
    assert not host.data.exists()


def test_a_host_without_card_or_engine_is_ready_for_the_synthetic_world(host: FakeHost) -> None:
    make_environments(host)
    done = host.doctor("synth")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "ok no NVIDIA GPU; 'synth' runs on the CPU and needs none" in lines
    assert "ok environments made already, paper stack: csenv, dpo, fsenv" in lines
    assert lines[-1].startswith("Ready for 'synth' with ENGINE=venv")
    assert not host.data.exists()


def test_a_card_without_code_does_not_matter_to_a_dataset_that_uses_none(host: FakeHost) -> None:
    make_environments(host)
    host.cards("H100")
    done = host.doctor("synth")
    assert done.returncode == 0 and "NVIDIA H100 80GB HBM3, SM 9.0" in done.stdout and "none of them is used: 'synth' runs on the CPU" in done.stdout


def test_on_a_card_without_code_the_last_line_names_the_stack_to_use(host: FakeHost) -> None:
    host.cards("H100", "H100")
    done = host.doctor("bio", "--gpus", "2")
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 2 and last.startswith("Not ready") and "STACK=current: NVIDIA H100 80GB HBM3 is an SM 9.0 card" in last
    again = host.doctor("bio", "--gpus", "3", STACK="current")
    assert "STACK=current: it has code for what is here (SM 9.0)" in again.stdout.splitlines()[-1]
    assert "GPUS=3, and 2 visible" in again.stdout


def test_what_bio_lacks_is_listed_with_a_remedy_each_and_replay_needs_no_key(host: FakeHost) -> None:
    done = host.doctor("bio")
    lines = done.stdout.splitlines()
    for what in ("model 'llama1'", "an NVIDIA GPU for models of 12.6 GiB", "knowledge base", "variable OPENAI_API_KEY"):
        place = next(index for index, line in enumerate(lines) if line.startswith("  missing") and what in line)
        assert lines[place + 1].startswith("           remedy: ")
    assert done.returncode == 2
    assert "OPENAI_API_KEY" not in host.doctor("bio", "--llm-mode", "replay").stdout


def test_a_driver_that_fails_matters_to_a_dataset_that_needs_a_card(host: FakeHost) -> None:
    host.program("nvidia-smi", "#!/bin/sh\necho \"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\"\nexit 9\n")
    bio, synth = host.doctor("bio").stdout.splitlines(), host.doctor("synth").stdout.splitlines()
    assert [line.split()[0] for lines in (bio, synth) for line in lines if "couldn't communicate" in line] == ["missing", "warning"]


def test_an_engine_asked_for_by_name_that_is_not_there_is_missing(host: FakeHost) -> None:
    done = host.doctor("synth", ENGINE="podman")
    assert done.returncode == 2 and "podman: it is not installed" in done.stdout


def test_images_are_looked_for_in_the_engine_and_none_is_made(host: FakeHost) -> None:
    host.program("docker", docker_program())
    done = host.doctor("synth", ENGINE="docker")
    assert "docker 28.2.2 answers (ENGINE=docker)" in done.stdout and "images made on first use, paper stack: csenv, dpo, fsenv (19 GiB" in done.stdout


@pytest.mark.parametrize(
    ("dataset", "variables", "arguments", "message"),
    [
        ("synht", {}, (), "DATASET=synht: no such dataset. Did you mean 'synth'?"),
        ("synth", {"ENGINE": "kubernetes"}, (), "ENGINE=kubernetes: expected auto, docker"),
        ("synth", {"STACK": "old"}, (), "STACK=old: expected paper or current"),
        ("synth", {}, ("--gpus", "0"), "GPUS=0: expected"),
    ],
)
def test_a_wrong_word_is_one_clear_error(host: FakeHost, dataset: str, variables: dict[str, str], arguments: tuple[str, ...], message: str) -> None:
    done = host.doctor(dataset, *arguments, **variables)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {message}") and "Traceback" not in done.stderr
