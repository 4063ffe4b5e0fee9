"""What the paper prints, transcribed, agrees with itself where it should; every recipe leads to a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from volume.datasets import load_definition
from volume.errors import UsageError
from volume.experiments import Cell, find_table, methods_table, open_experiments, origin_of, pick_rows, pick_seeds, place_rows, read_published, runs_of

EXPERIMENTS = open_experiments()
PUBLISHED = read_published()

# Rows of later tables that repeat one of Table 2.
REPEATED = {"chat-as-is": "llama2-chat", "llama1-fs-alone": "llama1-fs", "llama2-fs-alone": "llama2-fs"}


def counted() -> dict[tuple[str, str], Cell]:
    """Return the cells of Tables 2 to 4, each once."""
    return {(row, column): cell for (table, row, column), cell in PUBLISHED.items() if table in (2, 3, 4) and row not in REPEATED}


def test_shares_follow_from_the_counts_in_23_of_32_cells() -> None:
    cells = counted()
    others = {place for place, cell in cells.items() if cell.average == "macro"}
    stacked = {(row, column) for row in ("llama1-fs-dola", "llama2-fs-dola") for column in ("bio", "medqa")}
    single = {("llama1-iti", "bio"), ("llama1-sft", "bio"), ("llama1-fs", "bio"), ("llama2-iti", "bio"), ("chat-fs", "medqa")}
    assert len(cells) == 32
    assert others == stacked | single


def test_counts_are_of_32_responses_but_for_three() -> None:
    counts = [count for cell in counted().values() for count in (cell.correct, cell.incorrect)]
    assert len(counts) == 64
    # A printed count has two digits: a multiple of 1/32 is at most 0.005 away.
    odd = sorted(count for count in counts if count is not None and abs(round(count * 32) / 32 - count) > 0.0051)
    assert odd == [2.65, 4.80, 11.67]


def test_repeated_rows_are_the_same_in_every_table() -> None:
    for row, original in REPEATED.items():
        table = 3 if row == "chat-as-is" else 4
        for column in ("bio", "medqa"):
            assert PUBLISHED[table, row, column] == PUBLISHED[2, original, column]


@pytest.mark.parametrize(("column", "reduction"), [("bio", 58), ("medqa", 40)])
def test_the_error_reductions_of_the_abstract_follow(column: str, reduction: int) -> None:
    tuned, chat = PUBLISHED[2, "llama2-fs", column], PUBLISHED[2, "llama2-chat", column]
    assert round(100 * (1 - (1 - tuned.share) / (1 - chat.share))) == reduction


def test_no_share_of_table_5_follows_from_its_counts() -> None:
    cells = [cell for (table, _, _), cell in PUBLISHED.items() if table == 5]
    assert len(cells) == 12
    assert {cell.average for cell in cells} == {"macro"}


def test_every_row_is_printed_and_every_printed_row_has_a_recipe() -> None:
    rows = {(table.number, row.name, column) for table in EXPERIMENTS.tables.values() for row in table.rows for column in ("bio", "medqa")}
    assert rows == set(PUBLISHED)
    names = [row.name for table in EXPERIMENTS.tables.values() for row in table.rows]
    assert len(names) == len(set(names))


def test_every_recipe_leads_to_a_run_of_its_definition() -> None:
    for table in EXPERIMENTS.tables.values():
        for row in table.rows:
            assert bool(row.places) != bool(row.cannot), row.name
            assert set(row.deviates) <= set(EXPERIMENTS.notes), row.name
            for place in row.places:
                definition = load_definition(place.dataset)
                assert {place.run, place.reference} <= set(definition.runs), row.name
                run = definition.runs[place.run]
                assert run.kind == row.method, row.name
                if run.kind == "dpo":
                    assert run.reward == row.reward, row.name
                if run.kind == "decode":
                    assert definition.decoders[run.decoder].kind == row.decoder, row.name


def test_synth_has_a_run_for_every_method() -> None:
    table, left_out = methods_table(EXPERIMENTS, "synth")
    assert left_out == ()
    assert len(table.rows) == 14 and table.seeds == (0, 7919, 31415)


def test_a_dataset_with_fewer_runs_has_a_smaller_table() -> None:
    toy = str(Path(__file__).resolve().parents[1] / "fixtures" / "toy.toml")
    runs = set(load_definition(toy).runs)
    table, left_out = methods_table(EXPERIMENTS, toy)
    assert {row.name for row in table.rows} == runs & set(EXPERIMENTS.methods["rows"])
    assert "samp_conf" in left_out and not runs & set(left_out)


def test_rows_go_by_group_name_or_beginning() -> None:
    table = find_table(EXPERIMENTS, 2)
    assert len(pick_rows(table, "")) == 11
    assert len(pick_rows(table, "llama1")) == 5
    assert [row.name for row in pick_rows(table, "llama2-fs,llama1-sft")] == ["llama1-sft", "llama2-fs"]
    assert [row.name for row in pick_rows(find_table(EXPERIMENTS, 5), "fact-llm")] == ["fact-llm-entropy", "fact-llm-max"]
    with pytest.raises(UsageError, match="no row 'lama2' in table 2. Did you mean 'llama2'"):
        pick_rows(table, "lama2")
    methods, _ = methods_table(EXPERIMENTS, "synth")
    with pytest.raises(UsageError, match="TABLE=2 to 6"):
        pick_rows(methods, "llama2")


def test_a_table_that_is_none_of_results_is_refused() -> None:
    with pytest.raises(UsageError, match="TABLE=7: the paper's tables of results are 2"):
        find_table(EXPERIMENTS, 7)


def test_seeds_are_the_first_ones() -> None:
    table = find_table(EXPERIMENTS, 2)
    assert pick_seeds(table, None) == (0, 1, 2)
    assert pick_seeds(table, 2) == (0, 1)
    for number in (0, 4):
        with pytest.raises(UsageError, match=f"SEEDS={number}: expected 1 to 3"):
            pick_seeds(table, number)


def test_a_dataset_leaves_its_column_and_one_that_extends_it_stands_in_its_place(tmp_path: Path) -> None:
    rows = pick_rows(find_table(EXPERIMENTS, 2), "llama2-fs")
    assert runs_of(place_rows(rows, "")) == {"bio": ("llama2_sft", "llama2_factscore"), "medqa": ("llama2_sft", "llama2_factscore")}
    assert list(runs_of(place_rows(rows, "medqa"))) == ["medqa"]
    own = tmp_path / "few.toml"
    own.write_text('extends = "bio"\nname = "few"\n')
    assert origin_of(str(own)) == "bio"
    (place,) = place_rows(rows, str(own))[0].places
    assert (place.column, place.dataset, place.pinned) == ("bio", str(own), "bio")
    with pytest.raises(UsageError, match="DATASET=synth: these rows are about bio, medqa"):
        place_rows(rows, "synth")


def test_a_column_of_table_5_is_named_by_its_dataset_of_the_paper() -> None:
    rows = pick_rows(find_table(EXPERIMENTS, 5), "")
    assert list(runs_of(place_rows(rows, "bio"))) == ["bio-ablation", "bio-ablation-llm"]
