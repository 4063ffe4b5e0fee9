"""Named entities and noun chunks by a spaCy model: a small real one, saved to a folder and loaded from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sampling_volume import stage_environment
from spacy_models import change_meta, write_pipeline

from confscoring.span_finders import open_finder
from volume.errors import UsageError
from volume.settings import EntitiesSettings

DISEASE = "The drug reduces the pain, which causes swelling of the skin."
PRIZE = "She won the Nobel Prize in 1903."


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("spacy") / "en_tiny")


@pytest.fixture
def volume(trained: Path, tmp_path: Path) -> Path:
    """A volume with the model where the definition looks for it."""
    shutil.copytree(trained, tmp_path / "spacy" / "en_tiny")
    return tmp_path


def settings(spans: str = "entities") -> EntitiesSettings:
    return EntitiesSettings(backend="spacy", spans=spans, model="spacy/en_tiny")


def found(volume: Path, spans: str, text: str, topic: str = "Ada") -> list[str]:
    finder = open_finder(settings(spans), volume, Path())
    return [text[start:end] for start, end in finder.find(text, topic)]


def test_entities_and_noun_chunks_are_the_models(volume: Path) -> None:
    assert found(volume, "entities", PRIZE) == ["Nobel Prize", "1903"]
    assert found(volume, "noun_chunks", PRIZE) == ["the Nobel Prize"]
    assert found(volume, "both", PRIZE) == ["Nobel Prize", "1903"]
    assert found(volume, "both", "Marie Curie discovered polonium with her husband.") == ["Marie Curie", "polonium", "her husband"]
    assert found(volume, "both", "") == found(volume, "both", " \n") == []


def test_subjects_roots_and_bare_pronouns_are_no_noun_chunks(volume: Path) -> None:
    finder = open_finder(settings("noun_chunks"), volume, Path())
    every = [chunk.text for chunk in finder._pipeline(DISEASE).noun_chunks]  # type: ignore[attr-defined]
    assert every == ["The drug", "the pain", "which", "swelling", "the skin"]  # the model did learn them
    assert found(volume, "noun_chunks", DISEASE) == ["the pain", "swelling", "the skin"]
    assert found(volume, "noun_chunks", "A rare disease of the heart.") == ["the heart"]
    assert found(volume, "noun_chunks", "They gave it to her sister.") == ["her sister"]
    assert found(volume, "noun_chunks", "The prize was given to Marie Curie.") == ["Marie Curie"]


def test_the_topics_own_name_is_left_out(volume: Path) -> None:
    text = "The prize was given to Marie Curie."
    assert found(volume, "entities", text, "Pierre Curie") == ["Marie Curie"]
    assert found(volume, "entities", text, "Marie Curie") == found(volume, "noun_chunks", text, "Marie Curie") == []


def test_the_finder_says_its_version_and_its_model(volume: Path) -> None:
    import spacy

    identity = open_finder(settings("both"), volume, Path()).identity
    assert identity == {"finder": "spacy", "version": spacy.__version__, "model": "en_tiny 1.2.3", "spans": "both"}


def test_a_wheel_that_was_unpacked_works_as_it_lies(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "spacy" / "en_tiny" / "en_tiny-1.2.3")
    (tmp_path / "spacy" / "en_tiny" / "__init__.py").write_text("raise SystemExit")
    assert found(tmp_path, "entities", PRIZE) == ["Nobel Prize", "1903"]


def test_a_model_installed_as_a_package_is_found_where_there_is_no_folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    shutil.copytree(trained, site / "en_tiny" / "en_tiny-1.2.3")
    (site / "en_tiny-1.2.3.dist-info").mkdir()
    (site / "en_tiny-1.2.3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: en_tiny\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(str(site))
    assert open_finder(settings(), tmp_path, Path()).identity["model"] == "en_tiny 1.2.3"
    change_meta(site / "en_tiny" / "en_tiny-1.2.3", spacy_version=">=2.0.0,<2.1.0")
    with pytest.raises(UsageError, match="^package en_tiny 1.2.3: this model is for spaCy >=2.0.0,<2.1.0.*uninstall it"):
        open_finder(settings(), tmp_path, Path())


def test_a_model_for_another_spacy_is_refused(volume: Path) -> None:
    folder = volume / "spacy" / "en_tiny"
    change_meta(folder, spacy_version=">=3.5.0,<3.6.0")
    with pytest.raises(UsageError) as refused:
        open_finder(settings(), volume, Path())
    assert str(folder) in str(refused.value) and "is for spaCy >=3.5.0,<3.6.0" in str(refused.value) and "delete the folder" in str(refused.value)


@pytest.mark.parametrize(("name", "content"), [
    ("meta.json", None), ("meta.json", b""), ("meta.json", b"[1]"), ("meta.json", b"\xff\xfe"), ("config.cfg", None), ("config.cfg", b"[nlp"), ("config.cfg", b""),
    ("tokenizer", None), ("tokenizer", b"\x81"), ("parser/model", b""), ("parser/moves", b"\xc1"), ("morphologizer/cfg", None), ("vocab/strings.json", b"{"),
    ("entity_ruler/patterns.jsonl", b"{"), ("vocab/key2row", b"\x01"), ("vocab/vectors", b""),
])  # fmt: skip
def test_a_model_that_is_not_whole_is_a_clear_error(volume: Path, name: str, content: bytes | None) -> None:
    path = volume / "spacy" / "en_tiny" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="spacy/en_tiny cannot be read as a model for spaCy 3.* or delete the folder to have rules find the spans"):
        open_finder(settings("both"), volume, Path())


def test_an_empty_folder_and_a_file_in_its_place_are_errors_too(tmp_path: Path) -> None:
    (tmp_path / "spacy" / "en_tiny").mkdir(parents=True)
    with pytest.raises(UsageError, match="meta.json"):
        open_finder(settings(), tmp_path, Path())
    (tmp_path / "spacy" / "en_tiny").rmdir()
    (tmp_path / "spacy" / "en_tiny").write_text("en_core_web_sm")
    with pytest.raises(UsageError, match="cannot be read as a model"):
        open_finder(settings(), tmp_path, Path())


def test_a_model_that_cannot_find_what_is_wanted_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "spacy" / "en_tiny"
    write_pipeline(folder, parser=False)
    assert found(tmp_path, "entities", PRIZE) == ["Nobel Prize", "1903"]
    with pytest.raises(UsageError, match=r"finds no noun chunks \(its parts: entity_ruler\), which entities.spans = 'both' needs"):
        open_finder(settings("both"), tmp_path, Path())
    shutil.rmtree(folder)
    write_pipeline(folder, names=False, parser=False)
    with pytest.raises(UsageError, match=r"no part that finds entities \(its parts: none\)"):
        open_finder(settings("entities"), tmp_path, Path())


def test_spacy_is_loaded_without_torch_which_can_be_imported_afterwards(volume: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from volume.settings import EntitiesSettings; from confscoring.span_finders import open_finder\n"
        f"finder = open_finder(EntitiesSettings(backend='spacy', spans='both', model='spacy/en_tiny'), Path({str(volume)!r}), Path())\n"
        f"print(len(finder.find({DISEASE!r}, 'Ada')), 'torch' in sys.modules); import torch; print(torch.ones(1).item())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=stage_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.split() == ["3", "False", "1.0"], done.stderr
