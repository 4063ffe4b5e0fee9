"""Recorded calls: committed before use, replayed without a service, exported and imported."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from volume.errors import RecordError, UsageError, VolumeError
from volume.llm import CallStore, Client, Reply, Request, estimate_tokens, price
from volume.llm.__main__ import main
from volume.llm.transfer import export_calls, import_calls
from volume.settings import LlmSettings


def ask(sample: int, model: str = "m") -> Request:
    return Request("chat", model, (("user", "Who?"),), "p1", sample, {"temperature": 0.7})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CallStore]:
    with CallStore(tmp_path / "llm_calls.sqlite") as store:
        yield store


def test_a_reply_comes_back_as_it_was_and_samples_stay_apart(store: CallStore) -> None:
    first, second = Reply("Ærø \U0001f600\x00\n", 3, 2), Reply("", 3, 0, "length")
    store.put(ask(0), first)
    store.put(ask(1), second)
    assert (store.get(ask(0)), store.get(ask(1)), store.get(ask(2))) == (first, second, None)
    assert (store.has(ask(0)), store.has(ask(2))) == (True, False)


def test_every_field_is_part_of_the_key() -> None:
    base = ask(0)
    others = [
        Request("completions", "m", base.messages, "p1", 0, base.parameters), Request("chat", "m2", base.messages, "p1", 0, base.parameters),
        Request("chat", "m", base.messages, "p2", 0, base.parameters), ask(1), Request("chat", "m", base.messages, "p1", 0, {"temperature": 0.8}),
        Request("chat", "m", (("system", "Who?"),), "p1", 0, base.parameters),
    ]  # fmt: skip
    assert len({request.key() for request in [base, *others]}) == 7
    # Stores are kept for years: the key of a call must never change.
    text = b'{"family": "chat", "messages": [["user", "Who?"]], "model": "m", "parameters": {"temperature": 0.7}, "prompt_version": "p1", "sample": 0}'
    assert base.key() == hashlib.sha256(text).hexdigest()


def test_a_reply_outlives_a_process_that_is_killed_right_after_put(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from volume.llm import CallStore, Reply, Request
store = CallStore(Path({str(tmp_path / "calls.sqlite")!r}))
for sample in range(50):
    store.put(Request("chat", "m", (("user", "Who?"),), "p1", sample, {{"temperature": 0.7}}), Reply(str(sample), 1, 1))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False).returncode == -9
    with CallStore(tmp_path / "calls.sqlite") as store:
        assert [store.get(ask(sample)) for sample in range(50)] == [Reply(str(sample), 1, 1) for sample in range(50)]


def test_several_processes_may_make_and_write_one_store_at_once(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from volume.llm import CallStore, Reply, Request
with CallStore(Path({str(tmp_path / "calls.sqlite")!r})) as store:
    for sample in range(100):
        store.put(Request("chat", sys.argv[1], (("user", "Who?"),), "p1", sample, {{"temperature": 0.7}}), Reply("x", 1, 1), "bio", 0.01)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [subprocess.Popen([sys.executable, "-c", script, name], env=environment) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with CallStore(tmp_path / "calls.sqlite") as store:
        assert sum(1 for _ in store.rows()) == 300
        assert store.spent("bio") == pytest.approx(3.0)


def test_spending_adds_up_by_dataset_and_a_refreshed_call_was_paid_twice(store: CallStore) -> None:
    store.put(ask(0), Reply("a", 1000, 100), "bio", 0.25)
    store.put(ask(1), Reply("b", 1000, 100), "medqa", 0.5)
    store.put(ask(0), Reply("c", 1000, 100), "bio", 0.25)
    assert (store.spent("bio"), store.spent("medqa"), store.spent("synth")) == (0.5, 0.5, 0)
    assert store.get(ask(0)) == Reply("c", 1000, 100)


def test_prices_are_per_million_tokens_and_estimates_err_on_the_high_side() -> None:
    assert price(LlmSettings(input_price=2.5, output_price=10.0), 1_000_000, 100_000) == pytest.approx(3.5)
    assert [estimate_tokens(text) for text in ("", "a", "abc", "abcd", "Ærø")] == [0, 1, 1, 2, 2]


def test_replay_needs_no_service_and_a_miss_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "llm_calls.sqlite"
    with CallStore(path) as store:
        store.put(ask(0), Reply("reply 0", 3, 2))
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.setattr(socket, "socket", None)
    with Client(path, LlmSettings(base_url="nowhere"), "replay", max_cost=1.0) as replay:
        assert replay.complete([ask(0), ask(0)]) == [Reply("reply 0", 3, 2)] * 2
        assert (replay.usage.recorded, replay.usage.calls) == (1, 0)
        with pytest.raises(VolumeError, match=r"2 of 3 calls are not recorded .*Import a store"):
            replay.complete([ask(0), ask(8), ask(9)])


def test_without_aiohttp_what_is_recorded_still_works_and_the_rest_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "volume.llm.service", raising=False)
    with CallStore(tmp_path / "a.sqlite") as store:
        store.put(ask(0), Reply("reply 0", 3, 2))
    with Client(tmp_path / "a.sqlite", LlmSettings()) as client:
        assert client.complete([ask(0)]) == [Reply("reply 0", 3, 2)]
        with pytest.raises(UsageError, match="needs the package 'aiohttp'"):
            client.complete([ask(1)])


@pytest.mark.parametrize("change, words", [
    ({"base_url": "api.example/v1"}, "llm.base_url is 'api.example/v1'"),
    ({"base_url": "http://me:secret@host/v1"}, "a key belongs into OPENAI_API_KEY"),
    ({"max_cost": 1.0}, "llm.input_price and llm.output_price"),
    ({"max_cost": -1.0, "input_price": 1.0}, "MAX_COST is -1.0"),
    ({"mode": "rekord"}, "Did you mean 'record'"),
    ({"key": "sk-very\nsecret"}, "OPENAI_API_KEY holds characters"),
])  # fmt: skip
def test_settings_with_which_no_call_could_be_made_are_refused_before_anything(tmp_path: Path, change: dict[str, object], words: str) -> None:
    settings = LlmSettings(**{name: value for name, value in change.items() if name in LlmSettings.__dataclass_fields__})  # type: ignore[arg-type]
    others = {name: value for name, value in change.items() if name not in LlmSettings.__dataclass_fields__}
    with pytest.raises(UsageError, match=words) as caught:
        Client(tmp_path / "a.sqlite", settings, **others)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_broken_and_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to look like one" * 30)
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("CREATE TABLE documents (title, text)")
    with sqlite3.connect(tmp_path / "old.sqlite") as db:
        db.execute("CREATE TABLE calls (key TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL)")
    (tmp_path / "folder.sqlite").mkdir()
    for name in ("text", "other", "old", "folder"):
        with pytest.raises(VolumeError, match=rf"{name}\.sqlite"):
            CallStore(tmp_path / f"{name}.sqlite")


def test_a_store_with_overwritten_pages_is_named_when_a_reply_is_looked_up(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with CallStore(path) as store:
        for sample in range(200):
            store.put(ask(sample), Reply("x" * 500, 1, 1))
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(VolumeError, match=r"calls\.sqlite .*broken"), CallStore(path) as store:
        store.get(ask(0))


def test_a_full_disk_is_told_and_loses_nothing(store: CallStore, tmp_path: Path) -> None:
    store.put(ask(0), Reply("kept", 1, 1))
    store._db.execute("PRAGMA max_page_count = 8")
    with pytest.raises(VolumeError, match=r"llm_calls\.sqlite: database or disk is full.*What was recorded before is kept"):
        for sample in range(1, 50):
            store.put(ask(sample), Reply("x" * 2000, 1, 1))
    assert store.get(ask(0)) == Reply("kept", 1, 1)
    assert store.spending()[0].calls == sum(1 for _ in store.rows())


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.jsonl.gz"])
def test_export_and_import_give_the_same_bytes_whoever_paid_and_in_whatever_order(tmp_path: Path, name: str) -> None:
    with CallStore(tmp_path / "a.sqlite") as a, CallStore(tmp_path / "b.sqlite") as b:
        for sample in range(30):
            a.put(ask(sample), Reply(f"reply \u2028 {sample}", 3, 2), "bio", 0.1)
            request = Request("chat", "m", (("user", "Who?"),), "p1", 29 - sample, {"temperature": 0.7})
            b.put(request, Reply(f"reply \u2028 {29 - sample}", 3, 2))
    assert export_calls(tmp_path / "a.sqlite", tmp_path / "a" / name) == export_calls(tmp_path / "b.sqlite", tmp_path / "b" / name) == 30
    exported = (tmp_path / "a" / name).read_bytes()
    assert exported == (tmp_path / "b" / name).read_bytes()
    assert import_calls(tmp_path / "c.sqlite", tmp_path / "a" / name) == (30, 0, 0)
    assert import_calls(tmp_path / "c.sqlite", tmp_path / "a" / name) == (0, 30, 0)
    export_calls(tmp_path / "c.sqlite", tmp_path / "c" / name)
    assert (tmp_path / "c" / name).read_bytes() == exported
    lines = (gzip.decompress(exported) if name.endswith("gz") else exported).decode().split("\n")[:-1]
    keys = [json.loads(line)["key"] for line in lines]
    assert keys == sorted(ask(sample).key() for sample in range(30))
    assert os.listdir(tmp_path / "a") == [name]


def test_import_keeps_what_is_there_and_counts_towards_no_cap(tmp_path: Path) -> None:
    for name, text in (("a", "theirs"), ("b", "ours")):
        with CallStore(tmp_path / f"{name}.sqlite") as store:
            store.put(ask(0), Reply(text, 3, 2), "bio", 0.5)
            store.put(ask(1 if name == "a" else 2), Reply(text, 3, 2), "bio", 0.5)
    export_calls(tmp_path / "a.sqlite", tmp_path / "a.jsonl")
    assert import_calls(tmp_path / "b.sqlite", tmp_path / "a.jsonl") == (1, 0, 1)
    with CallStore(tmp_path / "b.sqlite") as store:
        assert [str(store.get(ask(sample)) and store.get(ask(sample)).text) for sample in range(3)] == ["ours", "theirs", "ours"]  # type: ignore[union-attr]
        assert store.spent("bio") == 1.0


def two_stores(folder: Path) -> tuple[Path, Path]:
    """Two stores with one call in common, one that each drew for itself, and one of its own each."""
    for name, own in (("a", 2), ("b", 3)):
        with CallStore(folder / f"{name}.sqlite") as store:
            store.put(ask(0), Reply("the same", 3, 2), "bio", 0.5)
            store.put(ask(1), Reply(f"drawn by {name}", 3, 2), "bio", 0.5)
            store.put(ask(own), Reply(name, 3, 2), "bio", 0.5)
    return folder / "a.sqlite", folder / "b.sqlite"


def contents(path: Path) -> list[tuple[str, str, str]]:
    with CallStore(path) as store:
        return list(store.rows())


@pytest.mark.parametrize("by", ["file", "store"])
def test_merging_two_stores_loses_nothing_whichever_way_it_goes_and_twice_is_once(tmp_path: Path, by: str) -> None:
    a, b = two_stores(tmp_path)
    all_of_both = {*contents(a), *contents(b)}
    given = {}
    for path in (a, b):
        given[path] = path.with_suffix(".jsonl.gz") if by == "file" else path.with_name(f"copy-{path.name}")
        if by == "file":
            export_calls(path, given[path])
        else:
            given[path].write_bytes(path.read_bytes())
    for path, other in ((a, b), (b, a)):
        assert import_calls(path, given[other]) == (1, 1, 1)
        once = contents(path)
        assert import_calls(path, given[other]) == (0, 3, 0) and contents(path) == once
        assert len(once) == 5 and set(once) == all_of_both
        with CallStore(path) as store:
            assert store.get(ask(1)) == Reply(f"drawn by {path.stem}", 3, 2)  # one's own is the one in use
            assert store.count_beside() == 1 and store.spent("bio") == 1.5
    # What is kept beside goes along, so a third store has all of it from either.
    for path in (a, b):
        export_calls(path, path.with_suffix(".jsonl"))
        for source in (path, path.with_suffix(".jsonl")):
            third = tmp_path / f"third-{source.name}.sqlite"
            assert import_calls(third, source) == (4, 0, 1) and set(contents(third)) == all_of_both
            with CallStore(third) as store:
                assert store.get(ask(1)) == Reply(f"drawn by {path.stem}", 3, 2)  # and the same one is in use


def test_a_store_made_before_other_replies_were_kept_is_upgraded_where_it_lies(tmp_path: Path) -> None:
    a, b = two_stores(tmp_path)
    for path in (a, b):
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE alternatives")
        db.close()
    before = b.read_bytes()
    assert import_calls(a, b) == (1, 1, 1) and len(contents(a)) == 5
    assert b.read_bytes() == before and sorted(path.name for path in tmp_path.glob("b.*")) == ["b.sqlite"]  # the other one is only read
    with CallStore(b) as store:
        assert store.get(ask(1)) == Reply("drawn by b", 3, 2) and store.count_beside() == 0


def test_a_store_that_somebody_is_writing_is_read_with_all_that_is_committed(tmp_path: Path) -> None:
    with CallStore(tmp_path / "theirs.sqlite") as theirs:
        theirs.put(ask(0), Reply("not in the file yet", 3, 2))
        assert import_calls(tmp_path / "ours.sqlite", tmp_path / "theirs.sqlite") == (1, 0, 0)


def test_a_refresh_that_draws_a_kept_reply_again_does_not_count_it_twice(store: CallStore, tmp_path: Path) -> None:
    store.put(ask(0), Reply("first", 3, 2))
    store.merge([(ask(0), Reply("second", 3, 2))], "(imported)")
    assert (store.count_beside(), len(list(store.rows()))) == (1, 2)
    store.put(ask(0), Reply("second", 3, 2))
    assert (store.count_beside(), len(list(store.rows()))) == (0, 1)


def test_what_is_no_other_store_is_not_imported(tmp_path: Path) -> None:
    a, b = two_stores(tmp_path)
    with pytest.raises(UsageError, match="is the store itself"):
        import_calls(a, a)
    with sqlite3.connect(b) as db:
        db.execute("UPDATE calls SET request = replace(request, 'Who?', 'Why?') WHERE reply LIKE '%drawn%'")
    db.close()
    with pytest.raises(RecordError, match=r"b\.sqlite, call .* is not the request's own"):
        import_calls(a, b)
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("CREATE TABLE documents (title, text)")
    db.close()
    with pytest.raises(VolumeError, match=r"cannot read .*other\.sqlite as a store of recorded calls"):
        import_calls(a, tmp_path / "other.sqlite")


@pytest.mark.parametrize("spoil, words", [
    (lambda line: line.replace("Who?", "Why?"), "line 2: the key .* is not the request's own"),
    (lambda line: line[: len(line) // 2], "line 2: "),
    (lambda line: line.replace('"finish"', '"end"'), "line 2: the reply does not have the fields"),
    (lambda line: line.replace('["user", "Who?"]', '["user"]'), "line 2: the request's messages are not pairs"),
    (lambda line: "[]", "line 2: expected an object with key"),
])  # fmt: skip
def test_a_bad_line_of_an_import_is_named(tmp_path: Path, spoil: object, words: str) -> None:
    with CallStore(tmp_path / "a.sqlite") as store:
        for sample in range(3):
            store.put(ask(sample), Reply("x", 3, 2))
    export_calls(tmp_path / "a.sqlite", tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    lines[1] = spoil(lines[1])  # type: ignore[operator]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(RecordError, match=rf"a\.jsonl, {words}"):
        import_calls(tmp_path / "b.sqlite", tmp_path / "a.jsonl")


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    with CallStore(tmp_path / "a.sqlite") as store:
        store.put(ask(0), Reply("x" * 100, 3, 2))
    export_calls(tmp_path / "a.sqlite", tmp_path / "a.jsonl.gz")
    (tmp_path / "a.jsonl.gz").write_bytes((tmp_path / "a.jsonl.gz").read_bytes()[:-20])
    with pytest.raises(RecordError, match=r"a\.jsonl\.gz"):
        import_calls(tmp_path / "b.sqlite", tmp_path / "a.jsonl.gz")
    (tmp_path / "a.jsonl.gz").write_bytes(b"plain text")
    with pytest.raises(RecordError, match=r"a\.jsonl\.gz"):
        import_calls(tmp_path / "b.sqlite", tmp_path / "a.jsonl.gz")


def test_the_command_exports_imports_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = str(tmp_path / "a.sqlite"), str(tmp_path / "a.jsonl")
    with CallStore(tmp_path / "a.sqlite") as store:
        store.put(ask(0), Reply("x", 1200, 34), "bio", 0.125)
        store.put(ask(1), Reply("x", 800, 66), "bio", 0.125)
        store.put(ask(1, "n"), Reply("x", 5, 6))
    assert [main(["export", path, file]), main(["import", str(tmp_path / "b.sqlite"), file]), main(["show", path])] == [0, 0, 0]
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["exported 3 call(s)", "imported 3 call(s), 0 were there already"]
    two_stores(tmp_path / "two")
    assert main(["import", str(tmp_path / "two" / "a.sqlite"), str(tmp_path / "two" / "b.sqlite")]) == 0
    assert main(["show", str(tmp_path / "two" / "a.sqlite")]) == 0
    both = capsys.readouterr().out
    assert "imported 1 call(s), 1 were there already\n1 other reply to requests that had one: yours stay in use" in both
    assert "1 other reply is kept, to requests that had one" in both
    assert [line.split() for line in said[3:]] == [["m", "bio", "2", "2,000", "100", "0.2500"], ["n", "-", "1", "5", "6", "0.0000"]]
    assert main(["show", str(tmp_path / "none.sqlite")]) == 2
    assert "there is no store" in capsys.readouterr().err
    assert not (tmp_path / "none.sqlite").exists()
