"""`make assets` against a hub, a store and a drive on loopback: fetched, killed, looked at, refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from file_server import FileServer

from volume import asset_fetch
from volume.asset_list import find_wanted, read_list
from volume.assets import main
from volume.datasets import load_definition
from volume.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
COMMIT = {"llama1": "1" * 40, "llama2": "2" * 40, "chat": "3" * 40}
TOKEN = "tok-en-of-a-test"
WEIGHTS = random.Random(1).randbytes(400_000)
MODEL = {"config.json": b"{}", "tokenizer.json": b'{"a": 1}', "README.md": b"no", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"left out"}
DATABASE = b"SQLite format 3\0" + random.Random(2).randbytes(60_000)


def zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("punkt_tab/english/collocations.tab", "a b\n")
        archive.writestr("elsewhere/other.txt", "not wanted\n")
    return packed.getvalue()


@dataclass
class World:
    hub: FileServer
    store: FileServer
    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def arguments(self) -> list[str]:
        return ["--dataset", str(self.folder / "tiny.toml"), "--data-dir", str(self.data), "--list", str(self.folder / "list.toml"), "--pause", "0.001"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with FileServer() as hub, FileServer() as store:
        for name, model in (("llama1", "huggyllama/llama-7b"), ("llama2", "meta-llama/Llama-2-7b-hf"), ("chat", "meta-llama/Llama-2-7b-chat-hf")):
            hub.publish(model, COMMIT[name], MODEL, ("model.safetensors",), store if name == "llama1" else None)
        gated = "/meta-llama/Llama-2-7b-hf"
        files = [f"{gated}/resolve/{COMMIT['llama2']}/{name}" for name in MODEL]
        for path in (f"/api/models{gated}/revision/main", f"/api/models{gated}/tree/{COMMIT['llama2']}", *files):
            hub.tokens[path] = TOKEN
        hub.files |= {"/drive": DATABASE, "/punkt.zip": zipped()}
        (tmp_path / "tiny.toml").write_text(
            'extends = "bio"\n[verifier]\nbackend = "lexical"\nmodel = ""\nnpm = false\n[retrieval]\nbackend = "bm25"\nmodel = ""\n'
            "[runs.llama2_sft]\nextra = false\n[runs.chat]\nextra = false\n"
        )
        write_list(tmp_path, hub)
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
        yield World(hub, store, tmp_path)


def write_list(folder: Path, hub: FileServer, more: str = "") -> None:
    digest = hashlib.sha256(zipped()).hexdigest()
    (folder / "list.toml").write_text(f"""
[llama-2-7b]
kind = "hub"
source = "meta-llama/Llama-2-7b-hf"
dest = "models/llama-2-7b"
gate = "a licence"
instead = "another model"
[wiki]
kind = "file"
source = "a drive"
dest = "knowledge/enwiki-20230401.db"
begins = "SQLite format 3"
addresses = ["{hub.address}/dead", "{hub.address}/drive?id=1"]
instead = "pages of your own"
[punkt]
kind = "archive"
dest = "nltk_data/tokenizers/punkt_tab"
source = "punkt"
inside = "punkt_tab"
optional = true
addresses = ["{hub.address}/punkt.zip"]
known.archive = {{ sha256 = "{digest}" }}
{more}""")


def run(world: World, *more: str) -> int:
    return main([*world.arguments, *more])


def test_all_that_a_definition_needs_is_fetched_and_recorded(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world) == 0, capsys.readouterr()
    for folder in ("llama-7b", "llama-2-7b", "llama-2-7b-chat"):
        assert {path.name for path in (world.data / "models" / folder).iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}
        assert (world.data / "models" / folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (world.data / "knowledge" / "enwiki-20230401.db").read_bytes() == DATABASE
    assert (world.data / "nltk_data/tokenizers/punkt_tab/english/collocations.tab").read_text() == "a b\n"
    lock = json.loads((world.data / "assets.lock.json").read_text())
    weights = lock["models/llama-7b"]["files"]["model.safetensors"]
    assert lock["models/llama-7b"]["revision"] == COMMIT["llama1"] and weights["sha256"] == hashlib.sha256(WEIGHTS).hexdigest() and weights["size"] == len(WEIGHTS)
    assert lock["models/llama-7b"]["files"]["config.json"]["sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert not list(world.data.rglob("*.part*"))


def test_a_second_run_asks_nobody_and_says_so(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world) == 0
    asked = len(world.hub.requests) + len(world.store.requests)
    assert run(world) == 0
    assert "Nothing to do." in capsys.readouterr().out
    assert run(world, "--offline") == 0
    assert len(world.hub.requests) + len(world.store.requests) == asked


def test_offline_says_of_each_asset_whether_it_is_ok_missing_or_wrong(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "--offline") == 2
    told = capsys.readouterr().out
    assert "missing  models/llama-7b" in told and "First accept a licence" in told and "Instead: pages of your own" in told
    assert not world.hub.requests
    assert run(world) == 0
    (world.data / "models/llama-7b/config.json").write_text("[]")
    (world.data / "models/llama-2-7b/tokenizer.json").unlink()
    capsys.readouterr()
    assert run(world, "--offline") == 2
    told = capsys.readouterr().out
    assert "wrong    models/llama-7b" in told and hashlib.sha256(b"[]").hexdigest() in told and hashlib.sha256(b"{}").hexdigest() in told
    assert "missing  models/llama-2-7b " in told and "1 of 3 files: tokenizer.json" in told
    assert "ok       knowledge/enwiki-20230401.db" in told


def test_a_file_with_other_bytes_is_never_written_over(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    folder = world.data / "models/llama-7b"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("mine")
    assert run(world) == 1
    told = capsys.readouterr().out
    assert (folder / "config.json").read_text() == "mine"
    assert "expected" in told and "Still missing" in told and "models/llama-7b" in told
    assert (world.data / "knowledge/enwiki-20230401.db").exists()  # the others were fetched


def test_files_put_there_by_hand_are_taken_if_they_are_the_right_ones(world: World) -> None:
    folder = world.data / "models/llama-7b"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(MODEL[name])
    assert run(world) == 0
    assert not world.store.sent  # the weights were not fetched again


def test_killed_and_run_again_it_goes_on_where_it_was(world: World) -> None:
    world.store.slow["/store/model.safetensors"] = 0.02
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "volume" / "src")}
    command = [sys.executable, "-m", "volume.assets", *world.arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        part = world.data / "models/llama-7b/model.safetensors.part"
        until = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    kept = part.stat().st_size
    assert 100_000 < kept < len(WEIGHTS)
    world.store.slow.clear()
    time.sleep(0.1)  # the server's thread notices that its reader has gone
    before = world.store.sent["/store/model.safetensors"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (world.data / "models/llama-7b/model.safetensors").read_bytes() == WEIGHTS
    assert world.store.sent["/store/model.safetensors"] - before == len(WEIGHTS) - kept


def test_the_token_is_in_no_output_no_record_and_at_no_other_host(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.store.breaks["/store/model.safetensors"] = [10_000]
    world.hub.files["/drive"] = b"<html>"
    assert run(world) == 1
    told = capfd.readouterr()
    assert TOKEN not in told.out + told.err
    assert all(TOKEN.encode() not in path.read_bytes() for path in world.data.rglob("*") if path.is_file())
    assert world.store.requests and all(TOKEN not in str(headers) for _, headers in world.store.requests)
    assert all("Authorization" not in headers for path, headers in world.hub.requests if path.startswith(("/drive", "/dead", "/punkt")))


@pytest.mark.parametrize(("token", "held"), [("", "no token was sent"), ("wrong", "a token was sent")])
def test_a_licence_that_must_be_accepted_is_named_with_its_page(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str, held: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert run(world) == 1
    told = capsys.readouterr().out
    assert f"accept a licence at {world.hub.address}/meta-llama/Llama-2-7b-hf" in told and held in told and "instead: another model" in told
    assert (world.data / "models/llama-7b/model.safetensors").exists()  # the others were fetched


def test_a_token_may_lie_in_a_file(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    assert run(world) == 2
    assert "HF_TOKEN_PATH" in capsys.readouterr().err
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    assert run(world) == 0


def test_a_drive_that_sends_a_page_and_a_dead_link_are_told_with_what_may_be_used_instead(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.hub.files["/drive"] = b"<!DOCTYPE html>Quota exceeded"
    assert run(world) == 1
    told = capsys.readouterr().out
    assert "web page instead of the file" in told and "try again in a day" in told and "instead: pages of your own" in told
    (world.data / "models/llama-2-7b-chat/config.json").unlink()
    del world.hub.files["/drive"], world.hub.files[f"/meta-llama/Llama-2-7b-chat-hf/resolve/{COMMIT['chat']}/config.json"]
    assert run(world) == 1
    assert capsys.readouterr().out.count("the link is dead") == 2


def test_a_hub_that_lists_other_bytes_than_the_list_pins_is_refused_before_anything_is_fetched(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    known = 'known."model.safetensors" = { sha256 = "' + "a" * 64 + '" }\n'
    write_list(world.folder, world.hub, f'[base]\nkind = "hub"\nsource = "huggyllama/llama-7b"\ndest = "models/llama-7b"\n{known}')
    assert run(world) == 1
    told = capsys.readouterr().out
    assert "a" * 64 in told and hashlib.sha256(WEIGHTS).hexdigest() in told
    assert not world.store.requests


def test_a_lock_from_another_volume_pins_what_is_fetched(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world) == 0
    lock = (world.data / "assets.lock.json").read_bytes()
    other = World(world.hub, world.store, world.folder / "other")
    other.data.mkdir(parents=True)
    (other.data / "assets.lock.json").write_bytes(lock)
    world.hub.files["/drive"] = b"SQLite format 3\0" + bytes(60_000)
    arguments = [part.replace(str(world.data), str(other.data)) for part in world.arguments]
    capsys.readouterr()
    assert main(arguments) == 1
    told = capsys.readouterr().out
    assert hashlib.sha256(DATABASE).hexdigest() in told and hashlib.sha256(world.hub.files["/drive"]).hexdigest() in told


def test_a_disk_too_small_is_one_message_before_anything_is_fetched(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(asset_fetch.shutil, "disk_usage", lambda path: usage(2**20))
    assert run(world) == 2
    told = capsys.readouterr().err
    assert "0.0 GiB free" in told and "Nothing was fetched" in told and len(told.splitlines()) == 1
    assert not world.store.requests and not world.hub.seen("/drive")


def test_a_second_command_at_once_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    world.data.mkdir()
    with (world.data / ".assets-held").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(world) == 1
    assert "another `make assets`" in capsys.readouterr().err
    assert not world.hub.requests


def test_a_file_of_the_hub_that_would_lie_elsewhere_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.hub.publish("huggyllama/llama-7b", COMMIT["llama1"], {**MODEL, "../escape.json": b"{}"}, ("model.safetensors",))
    write_list(world.folder, world.hub, '[base]\nkind = "hub"\nsource = "huggyllama/llama-7b"\ndest = "models/llama-7b"\nfiles = ["*.json", "*/*"]\n')
    assert run(world) == 1
    assert "outside of the model's folder" in capsys.readouterr().out
    assert not list(world.folder.rglob("escape.json"))


@pytest.mark.parametrize("dataset", ["bio", "medqa"])
def test_the_list_knows_all_that_the_papers_datasets_need(dataset: str) -> None:
    wanted = find_wanted(load_definition(dataset), read_list())
    assert {"llama-7b", "inst-llama-7b", "instruct-llama-7b-wdiff", "npm-single", "gtr-t5-large", "enwiki-20230401", "punkt"} <= {asset.name for asset in wanted}
    assert all(asset.kind != "own" and asset.licence and asset.instead for asset in wanted)
    assert "llama-2-7b" not in {asset.name for asset in wanted}  # only extra runs use it
    assert {"llama-2-7b", "llama-2-7b-chat"} <= {asset.name for asset in find_wanted(load_definition(dataset), read_list(), every_model=True)}
    order = [asset.name for asset in wanted]
    assert order.index("inst-llama-7b") > max(order.index("llama-7b"), order.index("instruct-llama-7b-wdiff"))


def test_the_synthetic_world_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dataset", "synth", "--data-dir", str(tmp_path), "--offline"]) == 0


def test_a_list_with_faults_names_them_all(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text('[a]\nkind = "hubb"\ndest = "../x"\n[b]\nkind = "file"\nsouce = "x"\n[c]\nkind = "hub"\ndest = "c"\nknown.f = { sha256 = "1" }\n')
    with pytest.raises(UsageError) as caught:
        read_list(tmp_path / "list.toml")
    for fault in ("a.kind = 'hubb': unknown. Did you mean 'hub'?", "a.dest = '../x'", "b.souce: unknown key. Did you mean 'source'?", "b.dest: missing", "c.known.f"):
        assert fault in str(caught.value)
