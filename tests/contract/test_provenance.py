"""The chain of hashes on a volume of two steps: what somebody changed is found and named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chain_volume import ADA, BO, MODEL, QUESTIONS, REWARDS, TOPICS, flip, manifest_of, ran, two_steps, write  # noqa: F401

from volume import crate, provenance
from volume.chain import trace
from volume.files import write_json
from volume.manifest import Fingerprint, manifest_digest
from volume.paths import DatasetPaths
from volume.provenance import read_book


def told(capsys: pytest.CaptureFixture[str], volume: Path, *words: str) -> tuple[int, str]:
    done = provenance.main(["--dataset", "bio", "--data-dir", str(volume), *words])
    out = capsys.readouterr()
    return done, out.out + out.err


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_chain_of_a_file_goes_back_to_its_sources_and_is_verified(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done, said = told(capsys, volume, "--file", REWARDS)
    assert done == 0 and "verified: 2 steps and 6 files, hashed anew" in said
    assert said.index("1. rewards-train: python -m confscoring.rewards --split train") < said.index("2. responses-train: python -m confscoring.responses --split train")
    assert "reads 3 files in dataset_bio/responses/ (responses-train)" in said
    assert f"source {QUESTIONS} (read by responses-train)" in said and f"source {MODEL} (read by responses-train)" in said
    assert "code cccccccccccc, lock llllllllllll" in said and "2026-11-28 02:00:07 UTC" in said and "source definition 'bio'" in said


def test_what_is_not_behind_a_file_is_not_looked_at(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (volume / REWARDS).write_text("[0.9]")
    done, said = told(capsys, volume, "--file", ADA)
    assert done == 0 and "rewards" not in said


def swap(volume: Path) -> None:
    one, other = (volume / ADA).read_bytes(), (volume / BO).read_bytes()
    (volume / ADA).write_bytes(other)
    (volume / BO).write_bytes(one)


def replace_input(volume: Path) -> None:
    path = manifest_of(volume, "rewards-train")
    depends = json.loads(path.read_text())["depends_on"]
    edit(path, depends_on={**depends, "inputs": {**depends["inputs"], ADA: "0" * 64}})


def exchange_manifests(volume: Path) -> None:
    one, other = manifest_of(volume, "rewards-train"), manifest_of(volume, "responses-train")
    text = one.read_text()
    one.write_text(other.read_text())
    other.write_text(text)


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "the file itself": (lambda volume: flip(volume, REWARDS), f"changed: {REWARDS}: it is not as rewards-train wrote it"),
    "a file on the way": (lambda volume: flip(volume, BO), f"changed: {BO}: it is not as responses-train wrote it"),
    "a source": (lambda volume: flip(volume, MODEL), f"changed: {MODEL}: it is not as responses-train read it"),
    "a file deleted": (lambda volume: (volume / ADA).unlink(), f"missing: {ADA}"),
    "a source deleted": (lambda volume: (volume / QUESTIONS).unlink(), f"missing: {QUESTIONS}"),
    "two files swapped": (swap, f"changed: {BO}"),
    "counts in a manifest": (
        lambda volume: edit(manifest_of(volume, "responses-train"), counts={"topics": 3, "done": 3, "failed": 0, "responses": 99}),
        "changed: dataset_bio/manifests/responses-train.json: its values do not give its digest",
    ),
    "the time in a manifest": (lambda volume: edit(manifest_of(volume, "rewards-train"), finished="2020-01-01"), "its values do not give its digest"),
    "an input in a manifest": (replace_input, "do not give its fingerprint"),
    "two manifests exchanged": (exchange_manifests, "it is the manifest of"),
    "a manifest deleted": (lambda volume: manifest_of(volume, "responses-train").unlink(), f"made by nothing: {ADA}"),
    "a manifest cut short": (lambda volume: manifest_of(volume, "responses-train").write_text('{"format": 1'), "manifests/responses-train.json: it is no JSON"),
    "a manifest without a part": (
        lambda volume: edit(manifest_of(volume, "responses-train"), outputs=None), "its value 'outputs' is missing or of a wrong kind",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_what_is_tampered_with_is_found_and_named(volume: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    change, expected = TAMPERED[what]
    change(volume)
    for words in (("--file", REWARDS), ()):
        done, said = told(capsys, volume, *words)
        assert done == 1 and expected in said and "broken: " in said and "verified" not in said, said


def test_a_step_that_ran_again_leaves_what_was_made_of_its_old_files_as_another_version(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(volume, ADA, "drawn anew")
    ran(volume, "responses-train", [QUESTIONS, MODEL], [f"dataset_bio/responses/{name}_generations.json" for name in TOPICS], hour=3)
    done, said = told(capsys, volume, "--file", REWARDS)
    assert done == 1 and f"other version: {ADA}: rewards-train read another version than responses-train has written since" in said
    assert said.count("\n  other version: ") == 1  # the two other topics came out as before


def test_an_input_that_was_not_there_may_not_be_there_now(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = manifest_of(volume, "rewards-train")
    manifest = json.loads(path.read_text())
    inputs = {**manifest["depends_on"]["inputs"], "dataset_bio/closed_book.json": None}
    fingerprint = Fingerprint(manifest["depends_on"]["settings"], "c" * 64, "l" * 64, inputs)
    manifest |= {"depends_on": {**manifest["depends_on"], "inputs": inputs}, "fingerprint": fingerprint.digest()}
    write_json(path, {**manifest, "digest": manifest_digest(manifest)})
    assert told(capsys, volume, "--file", REWARDS)[0] == 0
    write(volume, "dataset_bio/closed_book.json", "{}")
    done, said = told(capsys, volume, "--file", REWARDS)
    assert done == 1 and "changed: dataset_bio/closed_book.json: it was not there when rewards-train ran" in said


def test_failed_topics_are_shown_and_hiding_them_breaks_the_chain(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (volume / BO).unlink()
    left = [f"dataset_bio/responses/{name}_generations.json" for name in ("Ada", "Cy")]
    ran(volume, "responses-train", [QUESTIONS, MODEL], left, failed={"Bo": "no such title"})
    done, said = told(capsys, volume, "--file", ADA)
    assert done == 0 and "partial: 1 topic of 3 failed: Bo" in said
    path = manifest_of(volume, "responses-train")
    uncounted = {"counts": {"topics": 3, "done": 2, "failed": 0}}
    lies: tuple[dict[str, Any], ...] = ({"failures": {}}, {"status": "complete"}, {"failures": {}, "status": "complete"}, uncounted)
    for hidden in lies:
        manifest = {**json.loads(path.read_text()), **hidden}
        kept = path.read_text()
        write_json(path, {**manifest, "digest": manifest_digest(manifest)})
        done, said = told(capsys, volume, "--file", ADA)
        assert done == 1 and "failures hidden: dataset_bio/manifests/responses-train.json" in said
        path.write_text(kept)


@pytest.mark.parametrize("name", [MODEL, QUESTIONS])
def test_what_a_bundle_left_out_need_not_be_there_but_may_not_be_another(volume: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = manifest_of(volume, "responses-train")
    manifest = {**json.loads(path.read_text()), "given": {"bundle": "b" * 64, "left_out": [name]}}
    write_json(path, {**manifest, "digest": manifest_digest(manifest)})
    words = ["--dataset", "bio", "--data-dir", str(volume)]
    assert crate.main(words) == 0
    described = (volume / "dataset_bio" / crate.NAME).read_bytes()
    kept = (volume / name).read_text()
    (volume / name).unlink()
    done, said = told(capsys, volume)
    assert done == 0 and "came with bundle bbbbbbbbbbbbbbbb" in said and f"reads {name} (left out of the bundle)" in said
    assert crate.main(words) == 0 and (volume / "dataset_bio" / crate.NAME).read_bytes() == described
    (volume / name).write_text(f"{kept} another")
    done, said = told(capsys, volume)
    assert done == 1 and f"changed: {name}" in said


def test_a_file_is_named_from_here_from_the_volume_or_whole(volume: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(volume.parent)
    elsewhere = ["--data-dir", "nowhere"]  # the dataset is found by the file's path
    said = {
        told(capsys, volume, "--file", str(volume / REWARDS), *elsewhere), told(capsys, volume, "--file", REWARDS),
        told(capsys, volume, "--file", f"a volume/{REWARDS}", *elsewhere), told(capsys, volume, "--file", "dataset_bio/rewards"),
    }  # fmt: skip
    assert len(said) == 1 and next(iter(said))[0] == 0
    done, both = told(capsys, volume, "--file", f"{ADA} {BO}")
    assert done == 0 and both.startswith(f"{ADA}  SHA-256") and f"\n{BO}  SHA-256" in both


def test_an_unknown_file_is_refused_with_near_names(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done, said = told(capsys, volume, "--file", "dataset_bio/rewards/rewards_train_4.json")
    assert done == 2 and "no manifest names it. Did you mean " + REWARDS in said and "Traceback" not in said
    assert told(capsys, volume, "--file", "/nowhere/at/all.json")[0] == 2


def test_a_file_that_no_manifest_knows_is_made_by_nothing(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = write(volume, "dataset_bio/rewards/rewards_train_2.json", "[]")
    for words in (("--file", stray), ()):
        done, said = told(capsys, volume, *words)
        assert done == 1 and f"made by nothing: {stray}" in said
    done, said = told(capsys, volume, "--file", write(volume, "notes.txt", "mine"))
    assert done == 1 and "made by nothing: notes.txt: no manifest knows it" in said


def test_a_source_is_told_with_its_readers(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done, said = told(capsys, volume, "--file", MODEL)
    assert done == 0 and f"{MODEL}  SHA-256" in said and "made by no step" in said and "read by responses-train" in said
    flip(volume, MODEL)
    done, said = told(capsys, volume, "--file", MODEL)
    assert done == 1 and f"changed: {MODEL}: it is not as responses-train read it" in said


def test_only_quick_trusts_a_file_by_its_size_and_time(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in volume.rglob("*.json"):
        os.utime(path, ns=(1_700_000_000 * 10**9,) * 2)
    assert told(capsys, volume, "--quick")[0] == 0
    flip(volume, ADA)
    os.utime(volume / ADA, ns=(1_700_000_000 * 10**9,) * 2)
    done, said = told(capsys, volume, "--quick")
    assert done == 0 and "(--quick)" in said
    done, said = told(capsys, volume)
    assert done == 1 and f"changed: {ADA}" in said


def test_manifests_of_before_the_digest_are_verified_by_what_they_have(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in manifest_of(volume, "x").parent.glob("*.json"):
        old = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("digest", "command", "models", "services", "prompts")}
        write_json(path, old)
    done, said = told(capsys, volume)
    assert done == 0 and "rewards-train: in csenv" in said
    flip(volume, BO)
    assert told(capsys, volume)[0] == 1


def test_manifests_that_name_each_other_end_the_search(volume: Path) -> None:
    ran(volume, "responses-train", [REWARDS], [ADA, BO], hour=1)
    assert set(trace(read_book(DatasetPaths(volume / "dataset_bio")), [REWARDS]).steps) == {"rewards-train", "responses-train"}


def test_no_results_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (provenance.main, crate.main):
        assert command(["--dataset", "synth", "--data-dir", str(tmp_path)]) == 2
        assert "holds no results. `make demo`" in capsys.readouterr().err
