"""The Makefile in a checkout of its own, whose path has a space and a quote: what it lists, refuses, shows, and that a dry run is dry."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
VARIABLES = re.search(r"^VARIABLES := (.*)$", MAKEFILE, flags=re.M).group(1).split()  # type: ignore[union-attr]
STAGES = "data factscore questions answers entities rewards train eval report".split()
KEYS = ("OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "COMPLETIONS_API_KEY")


def targets() -> list[str]:
    """Return what `.PHONY` names, but for what nobody types."""
    text = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, flags=re.M).group(1)  # type: ignore[union-attr]
    names = text.replace("\\\n", " ").replace("$(STAGES)", " ".join(STAGES)).split()
    return [name for name in names if name not in ("help", "ready")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a user's checkout"
    shutil.copytree(ROOT / "volume" / "src", folder / "volume" / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docker", folder / "docker", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", folder)
    return folder


def make(checkout: Path, *words: str, answer: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make as somebody would whose shell has none of our variables set, but for ``variables``."""
    kept = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, *KEYS) and not name.startswith(("MAKE", "MFLAGS", "FACTTUNE_"))}
    environment = {**kept, "PYTHON": sys.executable, "ENGINE": "venv", **variables}
    return subprocess.run(["make", *words], cwd=checkout, env=environment, input=answer, capture_output=True, text=True, check=False)


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_help_lists_every_target_once_by_group_and_every_variable(checkout: Path) -> None:
    done = make(checkout)
    assert done.returncode == 0 and done.stderr == ""
    above, _, below = done.stdout.partition("\nVariables: ")
    lines = [re.fullmatch(r"(.{12}) (\S+) +(\S.*)", line) for line in above.splitlines()]
    assert sorted(line.group(2) for line in lines if line) == sorted(targets()) and None not in lines
    groups = [line.group(1).strip() for line in lines if line and line.group(1).strip()]
    assert groups == ["The method", "Stages", "The paper", "Looking", "Sharing", "Installing", "Developing", "Cleaning"]
    explained = [re.match(r"  ([A-Z_]+) +\S", line) for line in below.splitlines()[1:]]
    shown = [line.group(1) for line in explained if line]
    assert len(shown) == len(set(shown)) == len(explained)
    assert not [name for name in VARIABLES if name not in shown and f"{name}=" not in above]
    assert len(done.stdout.splitlines()) < 55 and max(map(len, done.stdout.splitlines())) < 120


def test_every_variable_has_a_default_in_the_makefile() -> None:
    assert re.findall(r"^([A-Z_]+) \?=", MAKEFILE, flags=re.M) == VARIABLES


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("demo DATSET=bio", ["DATSET: no such variable. Did you mean 'DATASET'"]),
        ("clean SEDE=3", ["SEDE: no such variable. Did you mean 'SEED' or 'SEEDS'?"]),
        ("rewards QQQ=1", ["QQQ: no such variable. Known: ARGS,"]),
        ("demo DATASET=sinth", [
            "DATASET=sinth: no such dataset. Did you mean 'synth'? Choices: bio, bio-ablation,", "Or give the path of a .toml file, or of a .csv with topics.",
        ]),
        ("checksums DATASET=none.toml", ["DATASET=none.toml: there is no such file."]),
        ("demo STACK=papr", ["STACK=papr: no such choice. Did you mean 'paper'? Choices: current, paper."]),
        ("checksums ENGINE=dokcer", ["ENGINE=dokcer: no such choice. Did you mean 'docker'? Choices: apptainer, auto, docker, podman, venv."]),
        ("lock STACK=new", ["STACK=new: no such choice. Choices: current, paper."]),
        ("train REWARD=factscore", ["REWARD=factscore: no run of 'synth' is trained on 'factscore'. Did you mean 'factscore_avg'", "random."]),
        ("rewards REWARD=zzz", ["REWARD=zzz: no run of 'synth'", "Choices: aq_exp_conf_avg, aq_max_conf_avg, aq_samp_conf_avg, factscore_avg, "]),
        ("train REWARD=factscore_avg RUNS=random", ["RUNS=random REWARD=factscore_avg: no run is named by both. Trained on this reward: factscore."]),
        ("plan RUNS=sfft", ["RUNS=sfft: no run 'sfft' in 'synth'. Did you mean 'sft'? Choices: base,"]),
        ("plan GOAL=reward", ["GOAL=reward: no such choice. Did you mean 'rewards'?"]),
        ("demo SEED=x SCALE=0 LIMIT=0 JOBS=-1 GPUS=1.5 MAX_COST=much WAIT=maybe", [
            "SEED=x: expected a whole number", "SCALE=0: expected a number above 0", "LIMIT=0: expected", "JOBS=-1: expected", "GPUS=1.5: expected",
            "MAX_COST=much: expected", "WAIT=maybe: no such choice",
        ]),
        ("clean-envs ENVS=", ["ENVS=: expected a folder; leave it out for the default."]),
        ("demo OPENAI_API_KEY=planted-value", ["OPENAI_API_KEY on the command line can be read by everybody on this host."]),
        ("rerun", ["make rerun needs BUNDLE"]),
        ("pytest ENV='x y'", ["ENV=x y: expected fsenv, csenv or dpo"]),
    ],
)  # fmt: skip
def test_what_make_does_not_know_is_refused_before_anything_starts(checkout: Path, words: str, parts: list[str]) -> None:
    before = tree(checkout)
    done = make(checkout, *shlex.split(words))
    assert done.returncode == 2 and done.stdout == ""
    for part in parts:
        assert part in done.stderr
    assert "Traceback" not in done.stderr and "planted-value" not in done.stderr
    assert tree(checkout) == before


def test_what_the_environment_has_wrong_is_said_to_come_from_there(checkout: Path) -> None:
    done = make(checkout, "plan", JOBS="many")
    assert done.returncode == 2 and "JOBS=many (environment): expected" in done.stderr


def test_variables_of_the_stages_may_stand_on_the_command_line(checkout: Path) -> None:
    done = make(checkout, "plan", "CUDA_VISIBLE_DEVICES=1")
    assert done.returncode == 0 and "CUDA_VISIBLE_DEVICES  1  (environment)" in done.stdout


def shown(plan: str) -> dict[str, tuple[str, str]]:
    """Return {variable: (value, origin)} of a plan."""
    found = re.findall(r"^  ([A-Z_]+) +(.*?)  \((.*)\)$", plan, flags=re.M)
    return {name: (value, origin) for name, value, origin in found}


def test_the_plan_shows_every_variable_with_its_value_and_where_it_came_from(checkout: Path) -> None:
    (checkout / "local.mk").write_text("STACK ?= current\nSEED ?= 5\nGPUS ?= 2\n")
    (checkout / "key").write_text("planted-value")
    done = make(
        checkout, "plan", "JOBS=3", "RUNS=sft,random", "DATA=my volume", SEED="7", LIMIT="", SCALE="2", OPENAI_API_KEY="planted-value", OPENAI_API_KEY_FILE="key",
    )
    assert done.returncode == 0, done.stderr
    found = shown(done.stdout)
    assert found["DATASET"] == ("synth", "default")
    assert found["DATA"] == (str(checkout / "my volume"), "command line")
    assert found["SEED"] == ("7", "environment") and found["SCALE"] == ("2", "environment")
    assert found["STACK"] == ("current", "local.mk") and found["GPUS"] == ("2", "local.mk")
    assert found["LIMIT"] == ("all topics", "default")
    assert found["JOBS"] == ("3", "command line") and found["RUNS"] == ("sft,random", "command line")
    assert found["ENVS"] == (str(checkout / ".envs"), "default")
    assert found["ENGINE"] == ("venv", "environment") and found["PYTHON"] == (sys.executable, "environment")
    assert found["OPENAI_API_KEY"] == ("set", "environment") and found["COMPLETIONS_API_KEY"] == ("not set", "default")
    assert found["OPENAI_API_KEY_FILE"] == ("key", "environment")
    assert "planted-value" not in done.stdout + done.stderr
    assert set(VARIABLES) - {"TABLE", "ROWS", "SEEDS", "CHECK", "CHECKOUT", "FILE", "BUNDLE", "WITHOUT", "ENV", "ARGS"} <= set(found)
    assert "dataset_synth-scale2-seed7" in done.stdout  # the values shown are those that count


def test_what_is_not_given_is_resolved(checkout: Path) -> None:
    done = make(checkout, "plan", ENGINE="", PATH=f"{checkout / 'bin'}:/usr/bin:/bin")
    found = shown(done.stdout)
    assert re.fullmatch(r"auto, here (docker|podman|apptainer|venv)", found["ENGINE"][0]) and found["ENGINE"][1] == "default"
    assert int(found["JOBS"][0]) >= 1 and found["SEED"][0] == "0" and found["RUNS"][0].startswith("all: base,sft,")


def test_an_engine_that_does_not_work_here_is_told_and_the_plan_goes_on(checkout: Path) -> None:
    done = make(checkout, "plan", "ENGINE=apptainer", PATH="/usr/bin:/bin")
    assert done.returncode == 0 and "apptainer, which does not work here:" in done.stdout and "Everything that this needs is here." in done.stdout


def test_reward_leaves_the_policies_trained_on_it_and_what_they_need(checkout: Path) -> None:
    def policies(*words: str) -> list[str]:
        done = make(checkout, "plan", *words)
        assert done.returncode == 0, done.stderr
        return re.findall(r"^  ((?:train|eval)-(?!responses|factscore-|questions|answers)\S+)", done.stdout, flags=re.M)

    assert policies("GOAL=train", "REWARD=factscore_avg") == ["train-sft", "train-factscore"]
    assert policies("GOAL=eval", "REWARD=random, factscore_avg") == ["train-sft", "train-factscore", "train-random", "eval-factscore", "eval-random"]
    assert policies("GOAL=eval", "REWARD=random,factscore_avg", "RUNS=random,sft") == ["train-sft", "train-random", "eval-random"]
    assert policies("GOAL=rewards", "REWARD=random") == []
    done = make(checkout, "train", "RUNS=base")
    assert done.returncode == 2 and "RUNS=base: base of 'synth' has nothing to do in 'train'." in done.stderr


def test_a_dry_run_runs_nothing(checkout: Path) -> None:
    """Neither a Python that is given nor one that would be found, and no file changes."""
    mark = checkout.parent / "mark"
    found = checkout.parent / "bin" / "python3.11"
    found.parent.mkdir()
    for python in (found, checkout.parent / "given"):
        python.write_text(f'#!/bin/sh\necho "$@" >> "{mark}"\n')
        python.chmod(0o755)
    before = tree(checkout.parent)
    for python in ("", str(checkout.parent / "given")):
        for target in targets():
            done = make(checkout, "-n", target, "FILE=x", "BUNDLE=x", "ENV=csenv", PYTHON=python, PATH=f"{found.parent}:/usr/bin:/bin")
            assert done.returncode == 0 and done.stdout, target
    assert tree(checkout.parent) == before
    assert make(checkout, "demo", PYTHON="", PATH=f"{found.parent}:/usr/bin:/bin").returncode == 0
    assert "volume.pipeline demo" in mark.read_text()  # it is the one that would have been found


@pytest.mark.parametrize("words", [("-j4", "rewards", "train"), ("-j2", "data", "factscore")])
def test_side_by_side_targets_run_one_after_the_other(checkout: Path, words: tuple[str, ...]) -> None:
    python = checkout.parent / "python"
    python.write_text(
        f'#!/bin/sh\nmkdir "{checkout}/busy" || echo overlap >> "{checkout}/log"\nsleep 0.3\n'
        f'case "$*" in *volume.pipeline*) echo "$3" >> "{checkout}/log";; esac\nrmdir "{checkout}/busy"\n'
    )
    python.chmod(0o755)
    done = make(checkout, *words, PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    assert (checkout / "log").read_text().split() == list(words[1:])


def test_any_folder_s_name_will_do(checkout: Path, tmp_path: Path) -> None:
    volume = tmp_path / "it's a \"volume\""
    for words in (("plan",), ("status",), ("clean",)):
        done = make(checkout, *words, f"DATA={volume}")
        assert done.returncode == 0 and f"{volume}" in done.stdout, done.stderr
    done = make(checkout, "checksums", f"DATA={volume}")
    assert f"{volume}/dataset_synth holds no results" in done.stderr and "syntax" not in done.stderr


def test_a_rerun_takes_its_folder_and_its_stack_from_its_own_command_alone(checkout: Path) -> None:
    (checkout / "local.mk").write_text("STACK ?= current\n")
    plain = make(checkout, "-n", "rerun", "BUNDLE=x y.tar.gz", DATA="/a/volume").stdout.splitlines()[-1]
    assert "volume.rerun 'x y.tar.gz'" in plain and "--data-dir" not in plain and "--stack" not in plain
    typed = make(checkout, "-n", "rerun", "BUNDLE=x", "DATA=new", "STACK=current").stdout.splitlines()[-1]
    assert "--data-dir 'new'" in typed and "--stack 'current'" in typed


def test_clean_deletes_when_told_so(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a volume" / "dataset_synth-seed3"
    folder.mkdir(parents=True)
    make(checkout, "clean", f"DATA={folder.parent}", "SEED=3", answer="n\n")
    assert folder.is_dir()
    done = make(checkout, "clean", f"DATA={folder.parent}", "SEED=3", answer="y\n")
    assert done.returncode == 0 and not folder.exists() and folder.parent.is_dir()


def test_clean_envs_deletes_environments_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    envs = tmp_path / "envs"
    for name in (".uv", ".uv-cache", "csenv-paper-0123", "dpo-current-0123", "mine", ".mine"):
        (envs / name).mkdir(parents=True)
    (envs / "csenv-paper").symlink_to("csenv-paper-0123")
    (envs / ".csenv-paper.lock").touch()
    done = make(checkout, "clean-envs", f"ENVS={envs}")
    assert done.returncode == 0 and {path.name for path in envs.iterdir()} == {"mine", ".mine"}
    shutil.rmtree(envs)
    (envs / ".uv").mkdir(parents=True)
    assert make(checkout, "clean-envs", f"ENVS={envs}").returncode == 0 and not envs.exists()


def test_from_another_folder_make_says_how(checkout: Path, tmp_path: Path) -> None:
    done = make(tmp_path, "-f", str(checkout / "Makefile"), "plan")
    assert done.returncode == 2 and "is not the checkout; run make there, or with: make -C FOLDER" in done.stderr


def test_without_python_the_message_says_where_it_is_had(checkout: Path) -> None:
    done = make(checkout, "demo", PYTHON="/nowhere/python3.11")
    assert done.returncode == 2 and "Python 3.11 is missing" in done.stderr and "PYTHON=/path/to/python3.11" in done.stderr


def test_the_adapter_knows_the_same_engines_stacks_and_variables() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import common; from volume import variables\n"
        "assert {*common.ENGINES, 'auto'} == {*variables.CHOICES['ENGINE']}, common.ENGINES\n"
        "assert {*common.STACKS} == {*variables.CHOICES['STACK']}, common.STACKS\n"
        "assert {*variables.ALSO} <= {*common._PASSED}, common._PASSED\n"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT / "docker"), str(ROOT / "volume" / "src")], check=True)
