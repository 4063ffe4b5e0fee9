"""The equivalence `llm`: a scripted service that answers by a rule, over real HTTP."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_service import ScriptedService, faults_by_chance

from confscoring.equivalence import AnswerClasses, AnswerGroup
from confscoring.equivalence_llm import AGAIN, LlmEquivalence, parse_same
from volume.errors import ItemError, VolumeError
from volume.llm import Client, Mode
from volume.settings import EquivalenceSettings, LlmSettings

SETTINGS = EquivalenceSettings(backend="llm", model="scripted")
SAME = ({"usa", "united states", "america", "the states"}, {"london", "the capital of england"}, {"a surveyor", "someone who surveys land"})
Answer = Callable[[dict[str, Any]], str]


def asked_about(body: dict[str, Any]) -> tuple[str, str, str]:
    """Return the question and the two answers of a call."""
    question, left, right, _ = body["messages"][1]["content"].split("\n")
    return question.removeprefix("Question: "), left.removeprefix("First answer: "), right.removeprefix("Second answer: ")


def by_meaning(body: dict[str, Any]) -> str:
    """Answer Yes where one of the sets holds both."""
    _, left, right = asked_about(body)
    return "Yes" if any({left.casefold(), right.casefold()} <= group for group in SAME) else "No."


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Callable[..., list[AnswerClasses | ItemError]]]:
    """Classify groups with a service; one store for all calls of a test."""

    def call(service: ScriptedService, groups: list[AnswerGroup], mode: Mode = "record", **more: Any) -> list[AnswerClasses | ItemError]:
        settings = LlmSettings(base_url=service.url, backoff_s=0.001, **more)
        with Client(tmp_path / "llm_calls.sqlite", settings, mode, dataset="mine") as client:
            return LlmEquivalence(client, SETTINGS).classify(groups)

    yield call


def group(*answers: str, claimed: str | None = None, question: str = "Which?") -> AnswerGroup:
    return AnswerGroup(question, answers, claimed)


def test_answers_that_say_the_same_are_one_class_and_no_answer_is_left_out(ask: Any) -> None:
    with ScriptedService(by_meaning) as service:
        found = ask(service, [group("USA", "usa.", "London", "United States", "America", "Oslo", "the capital of England", claimed="The States")])
    assert found == [AnswerClasses((4, 2, 1), 4)]


def test_the_order_of_the_samples_plays_no_part_in_classes_or_calls(ask: Any) -> None:
    answers = ("USA", "United States", "", "London", "the capital of England", "usa")
    groups = [group(*order, claimed="America") for order in itertools.permutations(answers)]
    with ScriptedService(by_meaning) as service:
        assert set(ask(service, groups)) == {AnswerClasses((3, 2, 1), 3)}
        assert set(service.answered.values()) == {1}
        assert len(service.answered) <= 6


def test_more_than_three_classes_and_more_than_twelve_comparisons_are_all_compared(ask: Any) -> None:
    towns = [f"Town {letter}" for letter in "ABCDEFGH"]
    with ScriptedService(by_meaning) as service:
        found = ask(service, [group(*towns, "america", "usa", "usa", claimed="Town H")])
        assert found == [AnswerClasses((3, *[1] * 8), 1)]
        assert len(service.calls) == 1 + 8 + 8 * 7 // 2  # "america" with "usa", each town with it, and the towns with each other


def test_an_answer_joins_the_class_that_is_the_largest_by_then(ask: Any) -> None:
    def same(body: dict[str, Any]) -> str:
        pair = set(asked_about(body)[1:])
        return "Yes" if "x" in pair or pair == {"p", "q"} else "No"

    with ScriptedService(same) as service:
        found = ask(service, [group(*"hhhppqqx"), group(*"hhhppqx")])  # "p" and "q" together are 4, then 3: as many as "h", which is older
    assert found == [AnswerClasses((5, 3)), AnswerClasses((4, 3))]
    assert {asked_about(body)[1:] for body in service.calls} == {("h", "p"), ("h", "q"), ("p", "q"), ("p", "x"), ("h", "x")}


def test_what_the_words_settle_is_not_asked_about(ask: Any) -> None:
    with ScriptedService(by_meaning) as service:
        groups = [
            group("Paris", "paris.", "", " ", claimed="the Paris"), group("1947", "1950", "1,950", "7", claimed="1951"), group("", "", claimed="Rome"),
            group("Rome", claimed=""), group("?"),
        ]  # fmt: skip
        assert ask(service, groups) == [AnswerClasses((2, 1, 1), 2), AnswerClasses((2, 1, 1), 0), AnswerClasses((1, 1), 0), AnswerClasses((1,), 0),
                                        AnswerClasses((1,), None)]  # fmt: skip
        assert service.calls == []


def test_a_number_in_other_digits_or_with_words_is_asked_about(ask: Any) -> None:
    with ScriptedService(lambda body: "Yes") as service:
        assert ask(service, [group("1947", "in the year 1947", "١٩٤٧")]) == [AnswerClasses((3,))]
        assert len(service.calls) == 2


def test_a_pair_is_asked_about_in_one_way_whichever_comes_first(ask: Any) -> None:
    with ScriptedService(by_meaning) as service:
        ask(service, [group("Oslo", "Oslo", "London"), group("London", "London", "Oslo")])
        assert [asked_about(body) for body in service.calls] == [("Which?", "London", "Oslo")]


def test_all_questions_are_in_flight_together(ask: Any) -> None:
    groups = [group("USA", "United States", question=f"Which country is meant by number {number}?") for number in range(40)]
    with ScriptedService(by_meaning, latency=0.2) as service:
        assert ask(service, groups, in_flight=64) == [AnswerClasses((2,))] * 40
        assert service.most > 20


def test_a_reply_that_is_neither_is_asked_for_once_more_and_then_counts_as_different(ask: Any) -> None:
    def unsure(body: dict[str, Any]) -> str:
        again = body["messages"][-1]["content"] == AGAIN
        if "Oslo" in body["messages"][1]["content"]:
            return "It depends."
        return "Yes." if again else "They look alike to me."

    with ScriptedService(unsure) as service:
        assert ask(service, [group("Rome", "Roma"), group("Rome", "Oslo", claimed="Roma")]) == [AnswerClasses((2,)), AnswerClasses((1, 1), 1, undecided=2)]
        assert [message["role"] for message in service.calls[-1]["messages"]] == ["system", "user", "assistant", "user"]


def test_a_call_that_fails_for_good_costs_its_own_group_alone(ask: Any) -> None:
    with ScriptedService(by_meaning, lambda body, _: "400" if "Oslo" in body["messages"][1]["content"] else None) as service:
        lost, kept = ask(service, [group("USA", "Oslo"), group("USA", "America")])
        assert isinstance(lost, ItemError) and str(lost).startswith("equivalence: ")
        assert kept == AnswerClasses((2,))


def test_faults_of_the_service_change_nothing_and_a_second_run_asks_nothing(ask: Any) -> None:
    groups = [group("USA", "United States", f"Town {number}", "America", claimed="London") for number in range(20)]
    with ScriptedService(by_meaning, faults_by_chance(0.3, ["429", "500", "garbage", "truncated", "close"])) as service:
        assert ask(service, groups) == [AnswerClasses((3, 1), 0)] * 20
        paid = len(service.calls)
        assert sum(service.seen.values()) > paid
        assert ask(service, groups, "replay") == [AnswerClasses((3, 1), 0)] * 20
        assert len(service.calls) == paid
        with pytest.raises(VolumeError, match="not recorded"):
            ask(service, [group("USA", "Hull")], "replay")


def test_answers_of_several_lines_and_other_scripts_reach_the_service_in_one_line_each(ask: Any) -> None:
    with ScriptedService(lambda body: "yes") as service:
        assert ask(service, [group("東京\n都", "Tōkyō", question="首都は？", claimed="הבירה")]) == [AnswerClasses((2,), 2)]
        assert {asked_about(body)[1:] for body in service.calls} == {("Tōkyō", "東京 都"), ("Tōkyō", "הבירה")}


def test_its_identity_names_model_and_prompt_and_holds_no_secret(tmp_path: Path) -> None:
    with Client(tmp_path / "calls.sqlite", LlmSettings(), key="sk-planted") as client:
        identity = LlmEquivalence(client, SETTINGS).identity()
    assert (identity["backend"], identity["model"], identity["temperature"], len(identity["prompt_sha256"])) == ("llm", "scripted", 0.0, 64)
    assert "sk-planted" not in json.dumps(identity)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Yes", True), ("yes.", True), ("**No**", False), (" No, they name different towns.", False), ("YES - both mean 1947", True), ("“Yes”", True),
        ("The answer is: no.", False), ("I would say yes", True), ("Answer: Yes", True), ("Yes or no? No", False),
        ("", None), ("Yes or No", None), ("They are the same.", None), ("No difference.", None), ("I cannot say no", None), ("maybe yes, maybe no", None),
        ("It isn't a yes", None), ("Norway", None), ("Nothing is said of it", None), ("No doubt they are the same", None),
    ],
)  # fmt: skip
def test_a_verdict_is_read_only_where_one_is_given(reply: str, verdict: bool | None) -> None:
    assert parse_same(reply) is verdict
