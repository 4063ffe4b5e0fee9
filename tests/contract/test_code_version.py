"""A stage's code version follows what it imports, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from volume import code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "csenv" / "src" / "confscoring"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "stage.py").write_text("from confscoring import maths\nimport json\n")
    (folder / "maths.py").write_text("def f():\n    from confscoring.late import g\n")
    (folder / "late.py").write_text("g = 1\n")
    (folder / "other.py").write_text("x = 1\n")
    monkeypatch.setattr(code, "_CHECKOUT", tmp_path)
    code._package_folder.cache_clear()
    code._source.cache_clear()
    yield folder
    code._package_folder.cache_clear()
    code._source.cache_clear()


def rewrite(path: Path, text: str) -> str:
    code._read.cache_clear()
    path.write_text(text)
    return code.code_version("confscoring.stage")


def test_a_change_in_an_imported_module_counts_and_one_elsewhere_does_not(package: Path) -> None:
    before = code.code_version("confscoring.stage")
    assert rewrite(package / "other.py", "x = 2\n") == before
    assert rewrite(package / "late.py", "g = 2\n") != before  # imported inside a function, two steps away
    assert rewrite(package / "late.py", "g = 1\n") == before


def test_the_package_itself_counts(package: Path) -> None:
    before = code.code_version("confscoring.stage")
    assert rewrite(package / "__init__.py", "x = 1\n") != before
