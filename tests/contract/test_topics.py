"""The lists of topics that come with the project, how topics are dealt to the splits, and what a list of one's own may look like."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from volume.datasets import DATASETS, load_definition
from volume.errors import UsageError
from volume.paths import DatasetPaths
from volume.topics import ListedTopic, deal_splits, find_list, find_named, given_responses, read_topics, topic_files

FEW_SHOT = (
    "Marie Curie", "Pierre Curie", "Neil Armstrong", "Wolfgang Amadeus Mozart", "Hillary Clinton", "LeBron James", "Yo-Yo Ma", "Mary Wollstonecraft",
    "Greta Gerwig", "Mukesh Ambani", "Marit Oslund", "Pim van Aarle",
)  # fmt: skip
CONDITIONS = ("scurvy", "malaria", "tetanus", "rabies", "color blindness", "cholera", "cataract", "dorsal fever")
# Sizes, and SHA-256 of the topics of each split, one a line: a change of a list or of the rule moves people from training to test.
DEALT = {
    "bio": {
        "train": (288, "7e16e853d7a31df6abd440dba179967dfc7c3447ac6e987d7fca34769bbac7b7"),
        "dpoval": (10, "62e1cfc88807ce2e7dacc3e87b9b1aeae986c56d35aa075b8692cdb7b713095d"),
        "val": (50, "d048bb667bfe8501d5a8aa6b910ec1cf85d42b95b2d267f80d9d1d06d0a1dce8"),
        "test": (125, "61f29816ae9816dcda8294dc1ce1cf398c706decbdc6bbbc6c69dfd752503b3c"),
    },
    "bio-v1": {
        "train": (296, "3b35a775a9634e7b1b587a359f76892e8a8912f7908dca32b2401d521f64803a"),
        "dpoval": (10, "4533fa856e2b424c724f1bd7c597e07350819b9de3782dcb0e739746c6db27e7"),
        "val": (0, hashlib.sha256(b"").hexdigest()),
        "test": (59, "b5b2c080b049a23b99068cf489bad7d44215ddb8fe95ffbf61065d3cf14c0259"),
    },
    "medqa": {
        "train": (150, "12a00ef304e7e026afc4b85ece381df68bf82127e7a5532e4b5f02ad47ffd97d"),
        "dpoval": (10, "031908643008c30920b26507ae91cd7f8516d61c952742a97fad1725268d8874"),
        "val": (45, "0c454ee061c717ec598b8ecf8e7a611172832d9ef42150d4715b1d90b4aa4dc7"),
        "test": (100, "327d5898a5836f553374a146aded555a8c633ec5a99d459e9cd844a96bebbc2d"),
    },
    "medqa-v1": {
        "train": (150, "12a00ef304e7e026afc4b85ece381df68bf82127e7a5532e4b5f02ad47ffd97d"),
        "dpoval": (10, "c4d5537b1897ef5b36d2226daf5765008d12c92d617a4362164be1a2337a5e5d"),
        "val": (0, hashlib.sha256(b"").hexdigest()),
        "test": (50, "154356eb29a73ddd22df021aff8d23b504f38b5641e0bbd0c064b544b36044b5"),
    },
}


def columns(name: str) -> list[dict[str, str]]:
    """Return the rows of a packaged list with all their columns."""
    with (DATASETS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def listed(*names: str, split: str = "") -> list[ListedTopic]:
    """Return a list of these topics."""
    return [ListedTopic(name, number, split=split) for number, name in enumerate(names)]


def names_of(dealt: dict[str, list[ListedTopic]]) -> dict[str, list[str]]:
    """Return the topics' names."""
    return {split: [row.topic for row in rows] for split, rows in dealt.items()}


def write(folder: Path, text: str | bytes) -> Path:
    """Write a list; return its path."""
    path = folder / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def fault_of(folder: Path, text: str | bytes) -> str:
    """Return what reading a list says."""
    with pytest.raises(UsageError) as caught:
        read_topics(write(folder, text))
    return str(caught.value)


def test_bio_lists_463_people_none_twice_with_pronoun_field_era_and_region() -> None:
    people = columns("bio")
    assert len(people) == len({row["topic"].casefold() for row in people}) == len(read_topics(DATASETS / "bio.csv")) == 463
    assert list(people[0]) == ["topic", "pronoun", "field", "era", "region"]
    assert all(value and value == value.strip() for row in people for value in row.values())
    assert {row["pronoun"] for row in people} == {"she", "he", "they"}


def test_the_people_of_bio_are_spread_over_sexes_regions_fields_and_eras() -> None:
    people = columns("bio")
    assert sum(row["pronoun"] == "she" for row in people) >= 0.35 * len(people)
    for column, most, kinds in (("region", 0.45, 7), ("field", 0.25, 10), ("era", 0.45, 6)):
        counts = Counter(row[column] for row in people)
        assert len(counts) >= kinds and max(counts.values()) <= most * len(people) and min(counts.values()) >= 20, (column, counts)


@pytest.mark.parametrize(("name", "known"), [("bio", FEW_SHOT), ("medqa", CONDITIONS)])
def test_nobody_of_a_few_shot_example_is_a_topic(name: str, known: tuple[str, ...]) -> None:
    topics = [row.topic for row in read_topics(DATASETS / f"{name}.csv")]
    definition = load_definition(name)
    assert definition.responses and definition.answers
    assert find_named(topics, "\n".join((*known, definition.responses.prefix, definition.answers.prefix))) == []


def test_medqa_lists_295_conditions_with_six_questions_each_that_name_them() -> None:
    rows = read_topics(DATASETS / "medqa.csv")
    assert len(rows) == len({row.topic.casefold() for row in rows}) == 295
    assert {len(row.questions) for row in rows} == {6}
    for row in rows:
        assert row.lower_case and all(question.endswith("?") for question in row.questions), row.topic
    assert len({question for row in rows for question in row.questions}) == 6 * 295


@pytest.mark.parametrize("name", DEALT)
def test_the_splits_of_the_papers_datasets_are_of_its_sizes_and_always_the_same(name: str) -> None:
    definition = load_definition(name)
    assert definition.topics is not None
    rows = read_topics(find_list(definition, Path("/nowhere")))
    dealt = names_of(deal_splits(rows, definition.topics.splits, definition.topics.dpoval))
    assert {split: (len(names), hashlib.sha256("\n".join(names).encode()).hexdigest()) for split, names in dealt.items()} == DEALT[name]
    assert {split for split, names in dealt.items() if names} == set(definition.splits)
    train, val, test = (set(dealt[split]) for split in ("train", "val", "test"))
    assert not train & val and not train & test and not val & test
    assert not set(dealt["dpoval"]) & (train | test) and (not val or set(dealt["dpoval"]) <= val)


def test_titles_decide_and_not_their_places_in_the_list() -> None:
    names = [f"Topic {number}" for number in range(40)]
    forth, back = (names_of(deal_splits(listed(*order), {}, 2)) for order in (names, names[::-1]))
    assert {split: set(found) for split, found in forth.items()} == {split: set(found) for split, found in back.items()}
    assert forth["train"] == sorted(forth["train"], key=names.index)  # in a split the list's order stays
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert set(forth["train"]) == set(by_hash[:25]) and set(forth["val"]) == set(by_hash[25:29]) and set(forth["dpoval"]) == set(by_hash[25:27])


def test_shares_and_counts_may_be_mixed_and_shares_of_the_whole_take_the_whole() -> None:
    rows = listed(*(f"T{number}" for number in range(13)))
    sizes = {split: len(found) for split, found in deal_splits(rows, {"train": 0.5, "test": 3}, 0).items()}
    assert sizes == {"train": 7, "dpoval": 0, "val": 0, "test": 3}
    for number in range(8, 60):
        dealt = deal_splits(listed(*map(str, range(number))), {"train": 0.62, "val": 0.11, "test": 0.27}, 0)
        assert len(dealt["train"] + dealt["val"] + dealt["test"]) == number


def test_without_val_dpoval_is_taken_from_what_is_left_and_else_from_the_end_of_train() -> None:
    rows = listed(*(f"T{number}" for number in range(20)))
    order = sorted((row.topic for row in rows), key=lambda name: hashlib.sha256(name.encode()).digest())
    left = names_of(deal_splits(rows, {"train": 10, "test": 5}, 3))
    assert set(left["dpoval"]) == set(order[15:18]) and len(left["train"]) == 10
    none_left = names_of(deal_splits(rows, {"train": 15, "test": 5}, 3))
    assert set(none_left["dpoval"]) == set(order[12:15]) and set(none_left["train"]) == set(order[:12])


def test_sizes_that_the_list_cannot_fill_are_refused_with_both_numbers() -> None:
    rows = listed(*(f"T{number}" for number in range(20)))
    for shares, dpoval, said in (
        ({"train": 15, "test": 6}, 0.0, "want 21 topics (train 15, val 0, test 6), and the list has 20"),
        ({"train": 10, "val": 4, "test": 6}, 5, "topics.dpoval = 5, and val has 4"),
        ({"train": 14, "test": 4}, 3, "topics.dpoval = 3, and the list beside the other splits has 2"),
        ({"train": 4, "test": 16}, 4, "topics.dpoval = 4 topics of train, which has 4"),
        ({"train": 1.5}, 0, "topics.splits.train = 1.5"),
        ({"train": -1}, 0, "topics.splits.train = -1"),
        ({"train": 10, "tests": 5}, 0, "Did you mean 'test'?"),
        ({"train": 18, "val": 0.01, "test": 2}, 0, "the list has 20 topics (train 18, val 0, test 2), too few for val"),
    ):
        with pytest.raises(UsageError) as caught:
            deal_splits(rows, shares, dpoval)
        assert said in str(caught.value), caught.value


def test_a_small_list_without_sizes_needs_none() -> None:
    sizes = {split: len(found) for split, found in deal_splits(listed(*(f"T{number}" for number in range(12))), {}, 10).items()}
    assert sizes == {"train": 7, "dpoval": 2, "val": 2, "test": 3}
    for number, expected in ((6, (3, 1, 1, 2)), (3, (1, 1, 1, 1))):
        assert tuple(len(found) for found in deal_splits(listed(*"ABCDEF"[:number]), {}, 10).values()) == expected
    with pytest.raises(UsageError, match="too few for"):
        deal_splits(listed("A", "B"), {}, 10)


def test_a_column_split_decides_where_there_is_one(tmp_path: Path) -> None:
    rows = read_topics(write(tmp_path, "topic,split\nA,test\nB,train\nC,val\nD,train\nE,dpoval\n"))
    assert names_of(deal_splits(rows, {"train": 1}, 1)) == {"train": ["B", "D"], "dpoval": ["E"], "val": ["C"], "test": ["A"]}
    without = read_topics(write(tmp_path, "topic,split\nA,test\nB,train\nC,val\n"))
    assert names_of(deal_splits(without, {}, 10))["dpoval"] == ["C"]


def test_marks_line_ends_and_empty_rows_of_any_system_are_read(tmp_path: Path) -> None:
    text = '\ufefftopic,pronoun,question_2,question_1,note\r\n Björk ,she,Why?,Who?,x\r\n\r\n,,,,\r\n"Mary, Queen of Scots",,,,"two\r\nlines"\r\n"Pim ""P"" Aarle",he\r\n'
    rows = read_topics(write(tmp_path, text))
    assert rows == [
        ListedTopic("Björk", 0, ("Who?", "Why?"), "she"), ListedTopic("Mary, Queen of Scots", 1), ListedTopic('Pim "P" Aarle', 2, (), "he"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,pronoun\nA,he\n", "line 1: there is no column 'topic'"),
        ("topic;pronoun\nA;he\n", "separated by commas, not by ';'"),
        ("topic,Question 1\nA,Who?\n", "column 'Question 1': did you mean 'question_1'?"),
        ("topic,pronouns\nA,she\n", "column 'pronouns': did you mean 'pronoun'?"),
        ("topic,topic\nA,B\n", "column 'topic' comes twice"),
        ("topic,pronoun\nA,he\n ,she\n", "line 3: the topic is empty"),
        ("topic,note\nA,\"x\ny\"\nB,\nA,\n", "line 5: 'A' stands on line 2 already"),
        ("topic,pronoun\nA,He\n", "line 2: pronoun 'He': expected she, he, they, it or nothing"),
        ("topic,split\nA,tset\n", "line 2: split 'tset': expected train, dpoval, val, test"),
        ("topic,split\nA,test\nB,\n", "line 3: 'B' has no split"),
        ("topic,pronoun\nMary, Queen of Scots,she\n", "line 2: 3 cells for 2 columns"),
        ("topic,question_1,question_2\nA,Who?,Who?\n", "line 2: 'A' has a question twice"),
        ('topic\n"A\nB"\n', "line 2: the topic 'A\\nB' holds a line break"),
        (f"topic\n{'é' * 120}\n", "longer than the name of a file can be"),
        ('topic,note\nA,"x"y\n', "line 2: no CSV"),
        ("topic\n\n", "has no topics"),
        ("", "has no topics"),
        ("topic\nA\nBjörk\n".encode("latin-1"), "line 3 is not UTF-8 text (byte 0xf6)"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_file_and_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    message = fault_of(tmp_path, text)
    assert said in message and "mine.csv" in message


def test_all_faults_of_a_list_are_told_at_once(tmp_path: Path) -> None:
    message = fault_of(tmp_path, "topic,pronoun\n" + "".join(f"T{number},x\n" for number in range(20)))
    assert "has 20 fault(s)" in message and "line 13: " in message and "line 14" not in message and "… and 8 more" in message


def test_a_list_is_found_in_the_volume_or_in_the_project(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "bio"\nname = "mine"\n[topics]\npath = "lists/own.csv"\n')
    definition = load_definition(str(tmp_path / "mine.toml"))
    with pytest.raises(UsageError, match="there is no such list"):
        find_list(definition, tmp_path)
    below = [tmp_path / "lists" / "own.csv", tmp_path / "definitions" / "own.csv", tmp_path / "dataset_mine" / "lists" / "own.csv"]
    for path in below:  # what is nearer to the dataset goes before
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("topic\nA\n")
        assert find_list(definition, tmp_path) == path
        assert topic_files(definition, DatasetPaths(tmp_path / "dataset_mine"), tmp_path) == [path]
    bio = load_definition("bio")
    assert find_list(bio, tmp_path) == DATASETS / "bio.csv" and topic_files(bio, DatasetPaths(tmp_path / "dataset_bio"), tmp_path) == []


def test_a_list_of_ones_own_does_not_stand_in_for_a_packaged_one_in_silence(tmp_path: Path) -> None:
    (tmp_path / "bio.csv").write_text("topic\nA\n")
    with pytest.raises(UsageError, match="Give yours another name"):
        find_list(load_definition("bio"), tmp_path)
    (tmp_path / "bio.csv").write_bytes((DATASETS / "bio.csv").read_bytes())
    assert read_topics(find_list(load_definition("bio"), tmp_path)) == read_topics(DATASETS / "bio.csv")


def test_names_are_found_as_words_of_their_own_and_without_their_bracket() -> None:
    assert find_named(["Ada Venn (painter)", "Ada", "Prince (musician)", "Holt", "olt", "by"], "ADA VENN was a prince of Holtby.") == ["Ada Venn (painter)", "Ada"]


def test_given_responses_are_found_by_our_file_name_and_by_the_plain_title(tmp_path: Path) -> None:
    paths, folder = DatasetPaths(tmp_path), tmp_path / "given" / "responses"
    folder.mkdir(parents=True)
    for name in ('Who? "X"_generations.json', "A%2FB_generations.json"):
        (folder / name).write_text("{}")
    assert [path.name for path in given_responses(paths, 'Who? "X"')] == ['Who? "X"_generations.json']
    assert [path.name for path in given_responses(paths, "A/B")] == ["A%2FB_generations.json"]
    assert given_responses(paths, "../A") == given_responses(paths, "Nobody") == []
