"""docs/training.md has every setting of training with its default, and no other."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from volume.datasets import as_json
from volume.training_settings import DpoSettings, OptimSettings, PretrainSettings, TrackingSettings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
SHARED = {field.name for field in dataclasses.fields(OptimSettings)}


def read_tables() -> dict[str, list[tuple[str, Any, str]]]:
    """Return {heading: (key, default, meaning) of each row} of the page's last part; a default is written as TOML has it."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## Every setting\n")[2]
    tables: dict[str, list[tuple[str, Any, str]]] = {}
    for part in text.split("\n### ")[1:]:
        heading, _, body = part.partition("\n")
        rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \| (.+) \|$", body, flags=re.M)
        assert len(rows) == len(re.findall(r"^\|", body, flags=re.M)) - 2, f"{heading}: a row that is not read"
        tables[heading] = [(key, tomllib.loads(f"value = {default}")["value"], meaning) for key, default, meaning in rows]
    return tables


@pytest.mark.parametrize(("heading", "settings", "inherited"), [
    ("[pretrain], [style], [sft], [dpo]", OptimSettings(), set()),
    ("[pretrain] alone", PretrainSettings(), SHARED),
    ("[dpo] alone", DpoSettings(), SHARED),
    ("[tracking]", TrackingSettings(), set()),
])  # fmt: skip
def test_a_table_names_every_setting_with_its_default_in_order_and_nothing_else(heading: str, settings: Any, inherited: set[str]) -> None:
    expected = {name: value for name, value in as_json(settings).items() if name not in inherited}
    rows = read_tables()[heading]
    assert [(key, default, type(default)) for key, default, _ in rows] == [(key, value, type(value)) for key, value in expected.items()]
    assert all(len(meaning) > 3 for _, _, meaning in rows)


def test_there_is_a_table_for_every_section() -> None:
    assert list(read_tables()) == ["[pretrain], [style], [sft], [dpo]", "[pretrain] alone", "[dpo] alone", "[tracking]"]


def test_a_section_that_inherits_settings_inherits_their_defaults() -> None:
    shared = as_json(OptimSettings())
    for settings in (PretrainSettings(), DpoSettings()):
        assert {name: value for name, value in as_json(settings).items() if name in shared} == shared


def test_what_the_page_calls_a_setting_is_one() -> None:
    """`name = value` in its text, or a name of the tables: a setting that was renamed must not live on in a sentence."""
    known = {key for rows in read_tables().values() for key, _, _ in rows}
    text = PAGE.read_text(encoding="utf-8").partition("\n## Every setting\n")[0]
    assigned = set(re.findall(r"`(\w+) = ", text)) | set(re.findall(r"^(\w+) = ", text, flags=re.M))
    assert len(assigned) > 8
    assert assigned - known == {"chat", "keep_correct"}  # of [models], of [eval]


def test_links_to_other_files_of_the_project_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")) if "://" not in link]
    assert "clusters.md" in links
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []
