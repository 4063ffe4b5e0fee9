"""A reward of one's own: a function in a Python file on the volume."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from reward_volume import arguments, fact, read_rewards, run_rewards, write_volume

from confscoring.reward_functions import ResponseFacts
from confscoring.reward_module import load_rewards
from volume.errors import UsageError
from volume.settings import RewardsSettings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = '''
"""Right facts minus wrong ones."""
from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean


@dataclass(frozen=True)
class Settings:
    weight: float = 2.0


def right_minus_wrong(response, settings):
    if not response.facts:
        return None
    return sum(_sign(fact) for fact in response.facts)


def _sign(fact):
    return 1 if fact.supported else -1


def weighted(response, settings):
    return Settings().weight * settings.detail_weight + mean([len(response.text)])
'''
TOPICS = {"Ada": {"Who?": [("right", [fact(True, "q", ["x"] * 4, "x"), fact(True, "r", ["y"] * 4, "y")]), ("wrong", [fact(False, "q", ["x"] * 4, "z")]), ("", [])]}}


def write(folder: Path, source: str) -> Path:
    path = folder / "rewards" / "mine.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    return path


def response(index: int = 3) -> ResponseFacts:
    return ResponseFacts("Ada", "Who?", index, "text", (), None, None, 4)


def test_every_public_function_of_the_file_is_a_column_and_the_volume_keeps_no_compiled_copy(tmp_path: Path) -> None:
    write_volume(tmp_path, TOPICS, '[rewards]\nmodule = "rewards/mine.py"')
    write(tmp_path, EXAMPLE)
    command = [sys.executable, "-m", "confscoring.rewards", *arguments(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "volume" / "src"), str(ROOT / "csenv" / "src")]), "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    columns = read_rewards(tmp_path, 1)["Ada"]["Who?"]
    assert list(columns)[-3:] == ["random", "right_minus_wrong", "weighted"]
    assert (columns["right_minus_wrong"], columns["weighted"]) == ([2.0, -1.0, None], [5.6, 5.6, 0.6])
    assert not [path for path in tmp_path.rglob("*mine*.pyc")]
    assert "right_minus_wrong:\t1\n" in (tmp_path / "dataset_mine" / "rewards" / "pairs_count_train_1.txt").read_text()


def test_a_changed_file_makes_the_rewards_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, TOPICS, '[rewards]\nmodule = "rewards/mine.py"')
    write(tmp_path, EXAMPLE)
    assert run_rewards(tmp_path) == 0
    assert run_rewards(tmp_path) == 0
    assert "up to date" in capsys.readouterr().err
    write(tmp_path, EXAMPLE.replace("else -1", "else -2"))
    assert run_rewards(tmp_path) == 0
    assert read_rewards(tmp_path, 1)["Ada"]["Who?"]["right_minus_wrong"] == [2.0, -2.0, None]


def test_the_shipped_example_can_be_copied_as_it_is(tmp_path: Path) -> None:
    source = (ROOT / "csenv" / "src" / "confscoring" / "reward_functions.py").read_text()
    start = source.index("def factscore_detail_avg")
    copied = source[start : source.index("\n\n\ndef ", start)].replace("factscore_detail_avg", "own_detail").replace("_avg", "")
    write_volume(tmp_path, TOPICS, '[rewards]\nmodule = "rewards/mine.py"')
    write(tmp_path, f"from __future__ import annotations\nimport math\n\n{copied}\n")
    assert run_rewards(tmp_path) == 0
    columns = read_rewards(tmp_path, 1)["Ada"]["Who?"]
    assert columns["own_detail"] == columns["factscore_detail_avg"] and columns["own_detail"][0] > 1


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(:\n  pass", r"cannot be run: SyntaxError: .*\(line 1\)"),
        ("import math\nx = 1 / 0\ndef f(r, s):\n  return 1", r"cannot be run: ZeroDivisionError: division by zero \(line 2\)"),
        ("import no_such_package_at_all", r"cannot be run: ModuleNotFoundError: .*no_such_package_at_all.*\(line 1\)"),
        ("x = 1\ndef _f(r, s): return 1\nfrom os.path import join", r"holds no reward; expected a function such as"),
        ("def factscore_avg(r, s): return 1", r"defines factscore_avg, which the rewards file has already"),
        ("def ne_exp_conf_avg(r, s): return 1", r"defines ne_exp_conf_avg"),  # though entities are not enabled
        ("def responses(r, s): return 1", r"defines responses"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, told: str) -> None:
    write_volume(tmp_path, TOPICS, '[rewards]\nmodule = "rewards/mine.py"')
    write(tmp_path, source)
    assert run_rewards(tmp_path) == 2
    error = capsys.readouterr().err
    assert re.search(told, error) and "mine.py" in error and "Traceback" not in error
    assert not (tmp_path / "dataset_mine" / "rewards").exists()


def test_a_missing_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path, TOPICS, '[rewards]\nmodule = "rewards/mine.py"')
    assert run_rewards(tmp_path) == 2
    assert "mine.py cannot be read (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return response.nothing", r"raised AttributeError: .*'nothing'.*\(line 2\)"),
        ("return 1 / len(response.facts)", r"raised ZeroDivisionError: .*\(line 2\)"),
        ("return float('nan')", r"returned nan; expected a finite number, or None"),
        ("return float('inf')", r"returned inf"),
        ("return 'good'", r"returned 'good'"),
        ("return [1.0]", r"returned \[1.0\]"),
        ("return 1j", r"returned 1j"),
    ],
)
def test_what_goes_wrong_in_a_function_names_it_with_topic_and_file(tmp_path: Path, body: str, told: str) -> None:
    reward = load_rewards(write(tmp_path, f"def mine(response, settings):\n    {body}\n"), ())["mine"]
    with pytest.raises(UsageError, match=rf"the reward mine of mine.py, on response 3 of topic 'Ada', {told}"):
        reward(response(), RewardsSettings())


def test_a_function_of_another_form_is_told_how_it_is_called(tmp_path: Path) -> None:
    reward = load_rewards(write(tmp_path, "def mine(response):\n    return 1\n"), ())["mine"]
    with pytest.raises(UsageError, match=r"raised TypeError: .* it is called as mine\(response, settings\)"):
        reward(response(), RewardsSettings())


@pytest.mark.parametrize(("returned", "value"), [("2", 2.0), ("True", 1.0), ("None", None), ("numpy.float32(0.5)", 0.5), ("numpy.int64(3)", 3.0)])
def test_numbers_of_all_kinds_become_floats(tmp_path: Path, returned: str, value: float | None) -> None:
    reward = load_rewards(write(tmp_path, f"import numpy\ndef mine(response, settings):\n    return {returned}\n"), ())["mine"]
    found = reward(response(), RewardsSettings())
    assert found == value and type(found) is type(value)
