"""What a run about to start asks of its host: cards that its stack has code for, a volume to write on, room for what is to be made."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import preflight
import pytest
from checks.cards import Card, look_at_cards, read_cards, visible_cards, what_instead, why_not
from common import EngineError, Settings
from engines import ROOT
from fake_host import FakeHost, docker_program
from preflight import check_host
from venvs import venv_folder

ENVS = ["fsenv", "csenv", "dpo"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A host without cards and engines; this process's own PATH, too."""
    made = FakeHost(tmp_path)
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(made.bin))
    return made


def settings(host: FakeHost, stack: str = "paper", engine: str = "venv") -> Settings:
    return Settings(engine, stack, ROOT, host.data, host.envs)


def make_environments(host: FakeHost) -> None:
    """Let all environments be there, so that no room is asked for."""
    for stack in ("paper", "current"):
        for env in ENVS:
            folder = venv_folder(settings(host, stack), env)
            folder.mkdir(parents=True)
            (folder / ".complete").write_text("")


@pytest.mark.parametrize(
    ("card", "stack"), [("A100", "paper"), ("L40S", "paper"), ("V100", "paper"), ("H100", "current"), ("5090", "current"), ("V100", "current")]
)
def test_a_card_that_the_stack_has_code_for_passes(host: FakeHost, card: str, stack: str) -> None:
    make_environments(host)
    host.cards(card)
    check_host(settings(host, stack), ENVS)


@pytest.mark.parametrize(("card", "sm"), [("H100", "SM 9.0"), ("5090", "SM 12.0")])
def test_a_card_without_code_is_refused_before_anything_is_made_and_the_message_names_the_stack_that_has_it(host: FakeHost, card: str, sm: str) -> None:
    host.cards(card)
    with pytest.raises(EngineError) as caught:
        check_host(settings(host), ENVS)
    said = str(caught.value)
    assert all(part in said for part in (card, sm, "fsenv and csenv", "paper stack", "7.0, 7.5, 8.0, 8.6", "STACK=current", "CUDA_VISIBLE_DEVICES="))
    assert "dpo" not in said  # whose PyTorch is new in either stack
    assert not host.envs.exists() and not host.data.exists()
    make_environments(host)
    check_host(settings(host), ["dpo"])


@pytest.mark.parametrize(
    ("name", "value"), [("CUDA_VISIBLE_DEVICES", ""), ("CUDA_VISIBLE_DEVICES", "-1"), ("CUDA_VISIBLE_DEVICES", "none"), ("NVIDIA_VISIBLE_DEVICES", "none")]
)
def test_a_card_that_is_hidden_is_not_looked_at(host: FakeHost, name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_environments(host)
    host.program("nvidia-smi", f"#!/bin/sh\n: > '{tmp_path}/asked'\nexit 1\n")
    monkeypatch.setenv(name, value)
    check_host(settings(host), ENVS)
    assert not (tmp_path / "asked").exists()


def test_of_several_cards_only_those_that_a_run_sees_count(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    make_environments(host)
    host.cards("H100", "A100")
    with pytest.raises(EngineError, match=r"H100.*Use STACK=current, or"):
        check_host(settings(host), ENVS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    check_host(settings(host), ENVS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-0f1c")
    with pytest.raises(EngineError, match="H100"):
        check_host(settings(host), ENVS)


def test_where_no_stack_runs_on_all_cards_those_are_named_that_one_runs_on(host: FakeHost) -> None:
    host.cards("P100", "H100")
    with pytest.raises(EngineError, match=r"H100.*P100.*CUDA_VISIBLE_DEVICES=1 STACK=current; or"):
        check_host(settings(host), ENVS)


def test_a_driver_that_is_too_old_is_named_with_the_oldest_that_will_do(host: FakeHost) -> None:
    make_environments(host)
    host.cards("V100", driver="470.82.01")
    with pytest.raises(EngineError, match=r"driver 470\.82\.01, and CUDA of dpo in the paper stack needs 525\.60\.13 or newer\. Install a newer driver"):
        check_host(settings(host), ENVS)
    check_host(settings(host), ["fsenv", "csenv"])


def test_a_driver_that_does_not_tell_the_capability_is_asked_for_the_rest(host: FakeHost) -> None:
    host.cards("A100", driver="470.182.03", unknown=("compute_cap",))
    (card,) = look_at_cards({}).visible
    assert (card.capability, card.driver, card.total) == (None, (470, 182, 3), 81920)
    make_environments(host)
    check_host(settings(host), ["csenv"])


def test_a_driver_that_fails_leaves_the_cpu_and_says_so(host: FakeHost, capsys: pytest.CaptureFixture[str]) -> None:
    make_environments(host)
    host.program("nvidia-smi", "#!/bin/sh\necho \"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\"\nexit 9\n")
    check_host(settings(host), ENVS)
    said = capsys.readouterr().err
    assert "couldn't communicate with the NVIDIA driver" in said and "runs on the CPU" in said


def test_a_program_that_hangs_is_ended_with_its_children(host: FakeHost, tmp_path: Path) -> None:
    host.program("nvidia-smi", f"#!/bin/sh\n/bin/sleep 30 &\necho $! > '{tmp_path}/child'\n/bin/sleep 30\n")
    found = look_at_cards({}, patience=0.5)
    assert found.hung and "did not answer within 0.5 s" in found.fault
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"
    for _ in range(200):  # a signal takes its time
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":  # ended, whether or not somebody has looked
            return
        time.sleep(0.05)
    raise AssertionError("the program's child still runs")


def test_a_run_is_refused_where_the_driver_hangs(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.program("nvidia-smi", "#!/bin/sh\nexec /bin/sleep 30\n")
    monkeypatch.setattr(preflight, "look_at_cards", lambda variables: look_at_cards(variables, patience=0.2))
    with pytest.raises(EngineError, match="nvidia-smi did not answer.*CUDA_VISIBLE_DEVICES="):
        check_host(settings(host), ENVS)


def test_a_volume_that_cannot_be_written_is_refused(host: FakeHost) -> None:
    make_environments(host)
    host.data.write_text("a file, where the volume should be")
    with pytest.raises(EngineError, match=r"is not a folder.*DATA"):
        check_host(settings(host), ENVS)


def test_the_environments_of_a_run_must_find_room_together(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * 2**30))
    check_host(settings(host), ["dpo"])
    with pytest.raises(EngineError, match=r"csenv, dpo take 15 GiB in .*, 10\.0 are free.*ENVS"):
        check_host(settings(host), ["csenv", "dpo"])
    make_environments(host)
    check_host(settings(host), ["csenv", "dpo"])


def test_images_must_find_room_where_the_engine_keeps_them(host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    host.program("docker", docker_program(DockerRootDir=str(store)))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=(1 if folder == store else 900) * 2**30))
    with pytest.raises(EngineError, match=rf"dpo takes 9 GiB in {store} .*engine's store"):
        check_host(settings(host, engine="docker"), ["dpo"])


def test_on_a_card_without_code_the_pipeline_stops_before_anything_is_made(host: FakeHost, tmp_path: Path) -> None:
    host.cards("H100")
    dataset = tmp_path / "mine.toml"  # of `synth` and `toy` it is said that they run on the CPU
    dataset.write_text((ROOT / "tests" / "fixtures" / "toy.toml").read_text().replace('device = "cpu"', 'device = "auto"'))
    command = [sys.executable, "-m", "volume.pipeline", "data", "--dataset", str(dataset), "--data-dir", str(host.data)]
    variables = host.variables(ENGINE="venv", PYTHONPATH=str(ROOT / "volume" / "src"))
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(part in done.stderr for part in ("error: NVIDIA H100 80GB HBM3 is an SM 9.0 card", "csenv", "paper stack", "STACK=current"))
    assert not host.envs.exists() and [path for path in host.data.rglob("*") if path.is_file() and not {".locks", "definitions"} & {*path.parts}] == []


LINE = "0, GPU-1, NVIDIA A100, 535.129.03, 81920, 80000, Disabled, 8.0"


def test_an_answer_of_nvidia_smi_is_read_and_what_it_does_not_tell_is_none() -> None:
    (card,) = read_cards(LINE + "\n")
    assert card == Card(0, "GPU-1", "NVIDIA A100", (535, 129, 3), 81920, 80000, False, (8, 0))
    (card,) = read_cards("3, GPU-1, NVIDIA GB10, 580.95.05, [N/A], [N/A], [N/A], [N/A]")
    assert (card.index, card.total, card.free, card.mig, card.capability) == (3, None, None, False, None)
    assert read_cards("No devices were found\n") == []


@pytest.mark.parametrize("text", ["Segmentation fault", "a, b, c", LINE.replace("535.129.03", "none"), LINE.replace("0,", "x,", 1), LINE + ", more"])
def test_what_nvidia_smi_never_says_is_a_fault_and_no_card(host: FakeHost, text: str) -> None:
    host.program("nvidia-smi", f"#!/bin/sh\necho '{text}'\n")
    found = look_at_cards({})
    assert not found.all and "cannot be read" in found.fault


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, [2, 0]),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, [1]),  # the list ends at what names no card
        ({"CUDA_VISIBLE_DEVICES": "7"}, []),
        ({"CUDA_VISIBLE_DEVICES": " 1 , 1"}, [1]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-2"}, [2]),
        ({"CUDA_VISIBLE_DEVICES": "MIG-6a1"}, [2]),  # a slice of the only card that is cut
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, [0, 1, 2]),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, [0, 1, 2]),  # said inside a container whose cards were chosen outside
        ({"NVIDIA_VISIBLE_DEVICES": "5"}, [0, 1, 2]),  # so, too, a number of the host outside
        ({"NVIDIA_VISIBLE_DEVICES": "none"}, []),
        ({"NVIDIA_VISIBLE_DEVICES": "0,1", "CUDA_VISIBLE_DEVICES": "1"}, [1]),
    ],
)
def test_the_variables_leave_the_cards_that_cuda_would_leave(variables: dict[str, str], expected: list[int]) -> None:
    cards = [Card(index, f"GPU-{index}aa", "card", (535,), 1, 1, index == 2, (8, 0)) for index in range(3)]
    assert [card.index for card in visible_cards(cards, variables)] == expected


def test_cards_of_one_kind_are_named_once_and_a_card_that_no_stack_runs_on_is_said_to_be_one() -> None:
    cards = [Card(index, f"GPU-{index}", "NVIDIA H100", (535, 129, 3), 1, 1, False, (9, 0)) for index in range(8)]
    assert len(why_not(cards, ENVS, "paper")) == 1 and why_not(cards, ENVS, "current") == []
    old = [Card(0, "GPU-0", "Tesla K80", (535, 129, 3), 1, 1, False, (3, 7))]
    assert "No stack runs on it" in what_instead(old, ENVS, "paper")
