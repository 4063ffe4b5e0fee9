"""Sentences of free text by punkt or by the sentencizer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from factscoring.splitter import Splitter, find_splitter
from volume.errors import UsageError

TRAINING = (
    "The firm Vexco Ltd. sells rope. Vexco Ltd. was founded by Venn. Many bought from Vexco Ltd. in spring. "
    "Ostrel Ltd. makes glass. The town likes Ostrel Ltd. and its glass. Nobody left. Kelford is small. "
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of NLTK's search path."""
    import nltk.data

    folder = tmp_path / "nltk_data"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("NLTK_DATA", str(folder))
    monkeypatch.setattr(nltk.data, "path", [str(folder)])
    return folder


@pytest.fixture
def punkt(data: Path) -> Path:
    """A punkt model that knows the abbreviation "ltd", written as NLTK writes its own."""
    from nltk.tokenize.punkt import PunktTrainer, save_punkt_params

    trainer = PunktTrainer()
    trainer.train(TRAINING * 5)
    parameters = trainer.get_params()
    assert "ltd" in parameters.abbrev_types
    folder = data / "tokenizers" / "punkt_tab" / "english"
    folder.parent.mkdir(parents=True, mode=0o700)
    folder.parent.parent.chmod(0o700)
    save_punkt_params(parameters, dir=str(folder))
    return folder


@pytest.fixture
def sentencizer(data: Path) -> Splitter:
    return find_splitter()


def test_without_punkt_data_the_sentencizer_is_used_and_named(sentencizer: Splitter) -> None:
    import spacy

    assert sentencizer.name == f"spacy-{spacy.__version__} sentencizer"


def test_punkt_is_used_and_named_where_its_data_lies(punkt: Path) -> None:
    import nltk

    splitter = find_splitter()
    assert splitter.name == f"nltk-{nltk.__version__} punkt_tab"
    assert splitter.split("She joined Ostrel Ltd. Vexco grew. J. R. R. Tolkien left.") == [
        "She joined Ostrel Ltd. Vexco grew.",
        "J. R. R. Tolkien left.",
    ]


def test_punkt_data_is_found_through_the_environment_variable(punkt: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_python("-c", "from factscoring.splitter import find_splitter; print(find_splitter().name)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("punkt_tab")


@pytest.mark.parametrize(
    ("file", "content"),
    [("ortho_context.tab", b"the\tmany"), ("ortho_context.tab", b"no tab here"), ("abbrev_types.txt", b"\xff\xfe\x00"), ("collocations.tab", None)],
)
def test_punkt_data_that_cannot_be_read_is_an_error_with_the_folder_and_the_remedy(punkt: Path, file: str, content: bytes | None) -> None:
    if content is None:
        (punkt / file).unlink()
    else:
        (punkt / file).write_bytes(content)
    with pytest.raises(UsageError, match=r"punkt_tab.*english.*Install it anew, or delete it"):
        find_splitter()


def test_a_broken_archive_of_punkt_data_is_an_error_too(data: Path) -> None:
    archive = data / "tokenizers" / "punkt_tab.zip"
    archive.parent.mkdir(mode=0o700)
    archive.write_bytes(b"PK no archive")
    with pytest.raises(UsageError, match="punkt_tab"):
        find_splitter()


@pytest.mark.parametrize("kind", ["sentencizer", "punkt"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t\r\n ", []),
        ("One came. Two left! Three stayed?", ["One came.", "Two left!", "Three stayed?"]),
        ("No stop at the end", ["No stop at the end"]),
        ("Mr. Smith met Dr. Venn. They left.", ["Mr. Smith met Dr. Venn.", "They left."]),
        ("J. R. R. Tolkien wrote it. It sold.", ["J. R. R. Tolkien wrote it.", "It sold."]),
        ("She knew St. Brel. She left.", ["She knew St. Brel.", "She left."]),
        ("See No. 5 there. He said no. Then he left.", ["See No. 5 there.", "He said no.", "Then he left."]),
        ("It grew by 3.5 per cent. Good.", ["It grew by 3.5 per cent.", "Good."]),
        ("first line\nsecond line.\r\nthird line", ["first line", "second line.", "third line"]),
        ("1. She wrote.\n- She sang.\n* She won.\n• She left.\n(2) She died.", ["She wrote.", "She sang.", "She won.", "She left.", "She died."]),
        ("1990 was cold. 1991 was not.", ["1990 was cold.", "1991 was not."]),
        ("- 1990 - 1995 were good years.", ["1990 - 1995 were good years."]),
        ("...\n---\n🏆\nShe won. ", ["She won."]),
        ("She won the 🏆 prize. He lost.", ["She won the 🏆 prize.", "He lost."]),
        ("וולד נולד כאן. הוא עזב.", ["וולד נולד כאן.", "הוא עזב."]),
        ("he was born. she was not.", ["he was born.", "she was not."]),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(kind: str, text: str, expected: list[str], request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(kind)
    assert find_splitter().split(text) == expected


@pytest.mark.parametrize("kind", ["sentencizer", "punkt"])
def test_a_text_of_two_hundred_sentences_is_split_into_two_hundred(kind: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(kind)
    assert len(find_splitter().split(" ".join(f"Sentence {number} ends here." for number in range(200)))) == 200


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["It was J.", "R.", "R.", "Tolkien."], ["It was J. R. R. Tolkien."]),
        (["She met Mr.", "Smith."], ["She met Mr. Smith."]),
        (["He chose plan B.", "She did not."], ["He chose plan B.", "She did not."]),
        (["She joined Acme Inc.", "in 1990."], ["She joined Acme Inc. in 1990."]),
        (["She won!", "in 1990."], ["She won!", "in 1990."]),
    ],
)
def test_names_that_a_splitter_tore_apart_are_mended(pieces: list[str], expected: list[str]) -> None:
    assert Splitter("fake", lambda line: pieces).split("a line") == expected


def test_the_stage_starts_without_numpy_spacy_and_torch(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    heavy = "{'numpy', 'spacy', 'nltk', 'torch'}"
    done = run_python("-c", f"import sys, factscoring.factscore, factscoring.splitter; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("first", ["", "import torch; "])
def test_splitting_imports_no_torch_and_leaves_it_to_whoever_wants_it(run_python: Callable[..., subprocess.CompletedProcess[str]], first: str) -> None:
    code = "import sys; from factscoring.splitter import find_splitter; find_splitter(); print('torch' in sys.modules); import torch; print(int(torch.ones(2).sum()))"
    done = run_python("-c", first + code)
    assert done.stdout.split() == [str(bool(first)), "2"], done.stderr


def test_folders_are_looked_for_where_nltk_looks(run_python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", f"{tmp_path}/a:{tmp_path}/b")
    code = "from factscoring.splitter import data_folders; import nltk.data; print([str(folder) for folder in data_folders()] == nltk.data.path)"
    done = run_python("-W", "ignore", "-c", code)
    assert done.stdout == "True\n", done.stderr
