"""Rewards by a judge that errs: which verdicts are flipped, and that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reward_volume import fact, read_rewards, run_rewards, write_volume

from confscoring.draws import uniforms
from confscoring.reward_functions import Fact, ResponseFacts, flipped_name, known_rewards
from volume.settings import RewardsSettings

SHARES = (0.05, 0.1, 0.2)
NAMES = ("factscore_flip05_avg", "factscore_flip10_avg", "factscore_flip20_avg")


def response(verdicts: list[bool], flips: list[float], kinds: list[str] | None = None) -> ResponseFacts:
    facts = tuple(Fact("a", supported, kind) for supported, kind in zip(verdicts, kinds or ["claim"] * len(verdicts), strict=True))
    return ResponseFacts("Ada", "Q?", 0, "text", facts, None, None, 4, flips=tuple(flips))


def rewards_of(given: ResponseFacts) -> list[float | None]:
    known = known_rewards(False, SHARES)
    return [known[name](given, RewardsSettings()) for name in NAMES]


def test_a_verdict_is_flipped_in_both_directions_where_its_number_is_below_the_share() -> None:
    given = response([True, True, False, False], [0.04, 0.9, 0.09, 0.19])
    # 5 %: T->F. 10 %: and F->T. 20 %: and the other F->T.
    assert rewards_of(given) == [0.25, 0.5, 0.75]


def test_a_number_equal_to_the_share_flips_nothing_and_text_without_a_verdict_is_never_flipped() -> None:
    assert rewards_of(response([True, True], [0.05, 0.5])) == [1.0, 0.5, 0.5]
    assert rewards_of(response([True, False, False], [0.9, 0.0, 0.0], ["claim", "unparsed", "off_topic"])) == [pytest.approx(1 / 3)] * 3
    assert rewards_of(response([], [])) == [None] * 3


def test_names_say_the_share_and_without_shares_there_are_no_such_rewards() -> None:
    assert [flipped_name(share) for share in (*SHARES, 0.125, 0.005, 0.5)] == [
        *NAMES, "factscore_flip12_5_avg", "factscore_flip0_5_avg", "factscore_flip50_avg",
    ]  # fmt: skip
    assert list(known_rewards(True, SHARES)) == [*known_rewards(True), *NAMES]
    assert not any("flip" in name for name in known_rewards(True))


def many(topic: str) -> dict[str, list[tuple[str, Any]]]:
    return {f"Who is {topic}?": [(f"text {index}", [fact(index % 2 == 0) for _ in range(400)]) for index in range(4)]}


def test_the_stage_flips_by_the_seed_the_prompt_and_the_response_and_writes_the_other_rewards_as_before(tmp_path: Path) -> None:
    for name in ("plain", "flipped"):
        (tmp_path / name).mkdir()
    plain, flipped = (write_volume(tmp_path / name, {"Ada": many("Ada"), "Bo": many("Bo")}, settings) for name, settings in (
        ("plain", ""), ("flipped", "[rewards]\nflipped = [0.05, 0.1, 0.2]"),
    ))  # fmt: skip
    assert run_rewards(plain) == run_rewards(flipped) == 0
    before, after = read_rewards(plain, 2), read_rewards(flipped, 2)
    for topic in ("Ada", "Bo"):
        question = f"Who is {topic}?"
        own = after[topic][question]
        assert {name: column for name, column in own.items() if name not in NAMES} == before[topic][question]
        for share, name in zip(SHARES, NAMES, strict=True):
            wrong = [int((uniforms(0, "mine", f"flip/{question}/{topic}", index, 400) < share).sum()) for index in range(4)]
            assert own[name] == [(400 - number if index % 2 == 0 else number) / 400 for index, number in enumerate(wrong)]
            assert 0.6 * share < sum(wrong) / 1600 < 1.4 * share
    assert json.dumps(after["Ada"]["Who is Ada?"][NAMES[2]]) != json.dumps(after["Bo"]["Who is Bo?"][NAMES[2]])


def test_a_reward_of_one_s_own_may_not_take_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = write_volume(tmp_path, {"Ada": many("Ada")}, '[rewards]\nflipped = [0.05]\nmodule = "own.py"')
    (volume / "own.py").write_text("def factscore_flip05_avg(response, settings):\n    return 1.0\n")
    assert run_rewards(volume) == 2
    assert "factscore_flip05_avg, which the rewards file has already" in capsys.readouterr().err
