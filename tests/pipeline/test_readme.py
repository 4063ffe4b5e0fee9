"""Every command of README.md is run: as it is typed, with the toy dataset as the default one and a volume of its own.

`make test` is what runs this file, and CI runs it by that name.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from scripted_service import ScriptedService  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
TOY = str(ROOT / "tests" / "fixtures" / "toy.toml")

# Each command with its exit status and a part of what it prints. Those with a test of their own below stand as None.
COMMANDS: dict[str, tuple[int, str] | None] = {
    "make": (0, "the whole method on the synthetic world"),
    "make demo": (0, "report/index.html"),
    "make test": None,
    "make plan": (0, "report"),
    "make rewards": (0, "up to date, nothing to do"),
    "make train": (0, "up to date, nothing to do"),
    "make eval": (0, "up to date, nothing to do"),
    "make report": (0, "up to date, nothing to do"),
    "make checksums": (0, "dataset_toy/report/index.html"),
    "make status": (0, "report"),
    "make doctor": (0, "Ready for 'toy'"),
    "make crate": (0, "ro-crate-metadata.json"),
    "make provenance FILE=data/dataset_synth/report/index.html": None,
    "make verify": None,
    "make bundle": None,
    "make rerun BUNDLE=bundle-synth.tar.gz": None,
    "make pin": None,
    "bash docker/make-base.sh docker": None,
    "make plan DATASET=bio": (0, "Missing for 'bio'"),
    "make rewards DATASET=bio": (2, "Missing for 'bio'"),
    "make train DATASET=bio": (2, "Missing for 'bio'"),
    "make eval DATASET=bio": (2, "Missing for 'bio'"),
    "make paper": (0, "DoLa on SFT"),
    "make paper TABLE=2 ROWS=llama2": None,
    "make plan TABLE=2": None,
    "make assets DATASET=bio": None,
    "make data DATASET=topics.csv": None,
    "make data DATASET=topics.csv CHECK=1": None,
    "make pytest ENV=csenv ARGS='-k upstream'": (0, "passed"),
    "make envs": (0, ""),
    "make images": None,
    "make lock": None,
    "make bench": None,
    "make export-calls FILE=calls.jsonl.gz": None,
    "make import-calls FILE=calls.jsonl.gz": None,
    "python3 tests/scripted_service.py --help": (0, "--fail"),
    "make plan DATASET=mine.toml": None,
    "make rewards DATASET=mine.toml": None,
    "python3 docker/engine.py run fsenv -- python -m factscoring.build_knowledge --input @data/pages.jsonl --output @data/knowledge/mine.db": None,
    "python3 docker/engine.py run fsenv -- python -m factscoring.score --input @data/answers.jsonl --output @data/scored.jsonl --knowledge @data/knowledge/mine.db": None,
}


def written_commands() -> set[str]:
    """Return what README.md gives to type: the lines of its sh blocks, and in the text what is marked as code and starts like one."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]*)`", re.sub(r"```.*?```", "", README, flags=re.S))
    return {line for line in [*lines, *inline] if re.match(r"make\b|python3? |bash |docker ", line) and "…" not in line}


def test_every_command_of_the_readme_is_in_the_list_above() -> None:
    assert written_commands() <= set(COMMANDS), "a new command needs its test here"


def variables(volume: Path) -> dict[str, str]:
    """The caller's variables, without what the adapter has set for this very process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FACTTUNE_", "MAKE", "MFLAGS"))}
    return {**kept, "DATA": str(volume), "DATASET": TOY, "SEEDS": "1", "ENGINE": "venv", "STACK": "paper", "PYTHON": sys.executable}


def shell(command: str, volume: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], cwd=cwd, env=variables(volume), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volume")


@pytest.mark.parametrize("command", [name for name, expected in COMMANDS.items() if expected])
def test_a_command_does_what_the_readme_says(command: str, volume: Path) -> None:
    status, part = COMMANDS[command] or (0, "")
    done = shell(command, volume)
    said = done.stdout + done.stderr
    assert done.returncode == status, said[-4000:]
    assert part in said and "Traceback" not in said


def test_the_rewards_of_your_own_data_are_three_steps_away(volume: Path, tmp_path: Path) -> None:
    """The world's topics, model and knowledge base stand for the user's own, reached by the very steps that the README gives."""
    toy, mine = volume / "dataset_toy", tmp_path / "volume" / "dataset_mine"
    assert (toy / "models" / "base").is_dir(), "made by `make demo` above"
    mine.mkdir(parents=True)
    for split in ("train", "dpoval"):
        shutil.copy(toy / f"questions_per_topic_{split}.json", mine)
    shutil.copytree(toy / "world", mine / "world")  # the grammar backends read the grammar of their language here
    shutil.copytree(toy / "models" / "base", tmp_path / "volume" / "models" / "mine")
    lines = tmp_path / "volume" / "pages.jsonl"
    code = (
        "import json, sqlite3, sys\n"
        "for title, text in sqlite3.connect(sys.argv[1]).execute('select title, text from documents'):\n"
        "    print(json.dumps({'title': title, 'text': text}))"
    )
    lines.write_text(subprocess.run([sys.executable, "-c", code, str(toy / "knowledge.db")], capture_output=True, text=True, check=True).stdout)
    built = shell(next(command for command in COMMANDS if "build_knowledge" in command), tmp_path / "volume")
    assert built.returncode == 0, built.stderr
    bio = (ROOT / "volume" / "src" / "volume" / "datasets" / "bio.toml").read_text()
    assert 'name = "bio"' in bio and "[runs." in bio
    text = Path(TOY).read_text().replace('name = "toy"', 'name = "mine"').replace('path = "models/base"', 'path = "models/mine"')
    text = text.replace('path = "knowledge.db"', 'path = "knowledge/mine.db"').replace("[world]\npeople = 60\n", "")
    text = re.sub(r"\[pretrain\].*?(?=\n\[responses\])", "", text, flags=re.S).replace("enabled = true", "enabled = false")
    (tmp_path / "mine.toml").write_text(text)
    make = f"make -f {shlex.quote(f'{ROOT}/Makefile')} --directory {shlex.quote(str(ROOT))}"
    plan = shell(f"{make} plan DATASET={tmp_path}/mine.toml", tmp_path / "volume")
    assert plan.returncode == 0, plan.stderr
    done = shell(f"{make} rewards DATASET={tmp_path}/mine.toml", tmp_path / "volume")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert list((mine / "rewards").glob("rewards_train_*.json"))


def test_a_list_of_topics_is_a_dataset_and_its_titles_are_looked_up(tmp_path: Path) -> None:
    (tmp_path / "topics.csv").write_text("topic\nAda Lovelace\nAlan Turin\n")
    page = {"title": "Ada Lovelace", "text": "Ada Lovelace was born in London."}
    (tmp_path / "pages.jsonl").write_text("".join(json.dumps({**page, "title": title}) + "\n" for title in ("Ada Lovelace", "Alan Turing")))
    make = f"make -f {shlex.quote(f'{ROOT}/Makefile')} --directory {shlex.quote(str(ROOT))}"
    lacking = shell(f"{make} data DATASET={tmp_path}/topics.csv CHECK=1", tmp_path / "volume")
    assert lacking.returncode == 2 and "enwiki-20230401.db" in lacking.stderr and "Traceback" not in lacking.stderr
    built = shell("python3 docker/engine.py run fsenv -- python -m factscoring.build_knowledge --input @data/pages.jsonl --output @data/knowledge/enwiki-20230401.db", tmp_path)
    assert built.returncode == 0, built.stderr
    checked = shell(f"{make} data DATASET={tmp_path}/topics.csv CHECK=1", tmp_path)
    assert "Error 3" in checked.stderr and "Alan Turing" in checked.stdout and "Ada Lovelace" not in checked.stdout, checked.stdout + checked.stderr
    done = shell(f"{make} data DATASET={tmp_path}/topics.csv", tmp_path)  # all that is left to get is the model
    assert done.returncode == 2 and "models/llama-7b" in done.stderr and "Missing for 'topics'" in done.stderr


def test_the_papers_table_is_printed_and_planned_where_nothing_has_been_run(tmp_path: Path) -> None:
    real = "env -u DATASET -u SEEDS "
    planned = shell(real + "make plan TABLE=2", tmp_path)
    assert planned.returncode == 0 and "GPU hours" in planned.stdout, planned.stdout + planned.stderr
    paper = shell(real + "make paper TABLE=2 ROWS=llama2", tmp_path)
    assert paper.returncode == 2 and "models/llama-2-7b" in paper.stderr and "Traceback" not in paper.stderr
    line = next(line for line in paper.stdout.splitlines() if line.startswith("| llama2-fs ") and "| bio" in line)
    assert "17.06" in line and "89.5" in line and "not run" in line
    assets = shell("make assets DATASET=bio ARGS=--offline", tmp_path)
    assert assets.returncode == 2 and "missing" in assets.stdout + assets.stderr and "huggyllama/llama-7b" in assets.stdout + assets.stderr


def test_any_text_is_scored_and_the_python_lines_run(tmp_path: Path) -> None:
    page = {"title": "Ada Lovelace", "text": "Ada Lovelace was born in London. She worked on the Analytical Engine."}
    (tmp_path / "pages.jsonl").write_text(json.dumps(page) + "\n")
    (tmp_path / "answers.jsonl").write_text(json.dumps({"topic": "Ada Lovelace", "text": "Ada Lovelace was born in Paris."}) + "\n")
    for part in ("build_knowledge", "factscoring.score"):
        done = shell(next(command for command in COMMANDS if part in command), tmp_path)
        assert done.returncode == 0, done.stderr
    assert "FActScore w/o length penalty = 0.0%" in done.stdout and "Respond ratio = 100.0%" in done.stdout
    lines = re.search(r"```python\n(.*?)```", README, flags=re.S).group(1)  # type: ignore[union-attr]
    (tmp_path / "lines.py").write_text(lines.replace('"mine.db"', f'"{tmp_path}/knowledge/mine.db"') + "\nprint(result.figures['init_score'])\n")
    done = shell("python3 docker/engine.py run fsenv -- python @data/lines.py", tmp_path)
    assert done.returncode == 0 and done.stdout.strip() == "1.0", done.stdout + done.stderr


def test_recorded_calls_go_from_one_volume_to_another(tmp_path: Path) -> None:
    calls = tmp_path / "calls.jsonl.gz"
    with ScriptedService() as service:
        code = (
            "from volume.llm import Client, Request; from volume.settings import LlmSettings; from pathlib import Path; import sys\n"
            f"client = Client(Path(sys.argv[1]), LlmSettings(base_url='{service.url}'))\n"
            "print(len(client.complete([Request('chat', 'm', (('user', str(number)),), 'p') for number in range(3)])))"
        )
        done = shell(f"python3 docker/engine.py run fsenv --network host -- python -c {shlex.quote(code)} @data/llm_calls.sqlite", tmp_path / "one")
        assert done.stdout.strip() == "3", done.stderr
    exported = shell(f"make export-calls FILE={calls}", tmp_path / "one")
    (tmp_path / "other").mkdir()
    imported = shell(f"make import-calls FILE={calls}", tmp_path / "other")
    assert "3" in exported.stdout and "3" in imported.stdout, exported.stderr + imported.stderr
    missing = shell("make export-calls", tmp_path / "one")
    assert missing.returncode == 2 and "FILE=" in missing.stderr


def test_the_benchmarks_run(tmp_path: Path) -> None:
    done = shell("make bench ARGS=--quick", tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("== bench_") == len(list((ROOT / "tests" / "bench").glob("bench_*.py")))


def test_make_lock_writes_locks_that_pass_their_own_test(tmp_path: Path) -> None:
    """In a copy of the checkout, since the newest releases may differ from those that are pinned here."""
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".envs", "data", ".git", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    for lock in copy.glob("*/locks/*.txt"):
        lock.unlink()
    done = shell("make lock", tmp_path / "volume", cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(copy), str(copy / "tests" / "images" / "test_locks_and_images.py")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout[-3000:]


def test_make_clean_deletes_the_folder_of_the_given_seed_and_only_when_told(tmp_path: Path) -> None:
    for name in ("dataset_synth", "dataset_synth-seed3"):
        (tmp_path / name).mkdir()

    def clean(answer: str) -> None:
        done = shell(f"echo {answer} | make clean DATASET=synth SEED=3", tmp_path)
        assert done.returncode == 0, done.stderr

    clean("n")
    assert {path.name for path in tmp_path.iterdir()} == {"dataset_synth", "dataset_synth-seed3"}
    clean("y")
    assert {path.name for path in tmp_path.iterdir()} == {"dataset_synth"}
    clean("y")  # nothing there any more: nothing to do
    wrong = shell("echo y | make clean DATASET=sinth", tmp_path)
    assert wrong.returncode == 2 and (tmp_path / "dataset_synth").is_dir()
