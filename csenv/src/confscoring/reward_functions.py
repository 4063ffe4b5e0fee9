"""The rewards: named functions from what is known of a response to one number.

    (response, settings) -> number, or None where the response has no such reward

A reward of one's own is one more such function, in a Python file that the definition names (`rewards.module`);
``factscore_detail_avg`` here is the example. Means are exactly rounded (math.fsum), so that equal scores are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from confscoring.confidence import Confidence, least_negative_entropy, mean_or_none
from volume.settings import RewardsSettings


@dataclass(frozen=True)
class Fact:
    """One atomic fact of a response.

    Attributes:
        atom: The fact.
        kind: ``claim``, or why it is none: ``unparsed``, ``off_topic``.
        attribute, value: What it states, where the facts come from a grammar.
        supported: The verifier's verdict.
        question: The atomic question; None where none could be asked.
        claimed: The answer that the fact itself gives; None where it is not known.
        answers: The sampled answers; empty where there are none.
        neg_ent, max_conf, exp_conf: Confidence in the answers; None where there are none.
        samp_conf: Share of the answers that agree with ``claimed``; None where there are none or it is not known.
    """

    atom: str
    supported: bool
    kind: str = "claim"
    attribute: str | None = None
    value: str | None = None
    question: str | None = None
    claimed: str | None = None
    answers: tuple[str, ...] = ()
    neg_ent: float | None = None
    max_conf: float | None = None
    exp_conf: float | None = None
    samp_conf: float | None = None


@dataclass(frozen=True)
class ResponseFacts:
    """One response with all that the earlier stages found out about it.

    Attributes:
        topic, question: What was asked; ``question`` is the prompt.
        index: Place among the responses to that prompt, from 0.
        text: The response.
        facts: Its atomic facts, in order.
        score: Share of the facts that are supported; None without facts.
        penalised_score: The same with FActScore's penalty on fewer than gamma facts.
        samples: Answers sampled per atomic question.
        entities: Confidence in each resampled entity; empty where entities are not enabled.
        draw: A number in [0, 1) of this response's own, whatever it says.
        flips: One more for each of its facts; empty where no reward needs them.
    """

    topic: str
    question: str
    index: int
    text: str
    facts: tuple[Fact, ...]
    score: float | None
    penalised_score: float | None
    samples: int
    entities: tuple[Confidence, ...] = ()
    draw: float = 0.0
    flips: tuple[float, ...] = ()


Reward = Callable[[ResponseFacts, RewardsSettings], float | None]


def factscore_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """Share of the facts that are supported (FactTune-FS, arXiv 2311.08401, section 3.1)."""
    return response.score


def factscore_lp_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """The same with FActScore's length penalty."""
    return response.penalised_score


def factscore_detail_avg(response: ResponseFacts, settings: RewardsSettings) -> float | None:
    """Supported share plus a weight times log(1 + supported facts): what is left out costs too, not only what is wrong."""
    supported = sum(fact.supported for fact in response.facts)
    return supported / len(response.facts) + settings.detail_weight * math.log(1 + supported) if response.facts else None


def aq_neg_ent_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """Mean negative entropy of the answers; a fact without answers has the least that there is, -ln n."""
    least = least_negative_entropy(response.samples)
    return mean_or_none([least if fact.neg_ent is None else fact.neg_ent for fact in response.facts])


def aq_max_conf_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """Mean share of the largest class (FactTune-MC). Here and below a fact without answers counts 0: else what cannot be read would be safe."""
    return mean_or_none([fact.max_conf or 0.0 for fact in response.facts])


def aq_exp_conf_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """Mean chance that two answers agree (FactTune-EC)."""
    return mean_or_none([fact.exp_conf or 0.0 for fact in response.facts])


def aq_samp_conf_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """Mean share of the answers that agree with the claim.

    None where facts have answers and none says what it claims: questions of the public code do not, and to count such a
    response 0 would make it look refuted.
    """
    answered = [fact for fact in response.facts if fact.answers]
    if answered and all(fact.claimed is None for fact in answered):
        return None
    return mean_or_none([fact.samp_conf or 0.0 for fact in response.facts])


def ne_neg_ent_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """Mean negative entropy over the response's resampled entities."""
    return mean_or_none([entity.neg_ent for entity in response.entities])


def ne_max_conf_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """Mean share of the largest class over the entities."""
    return mean_or_none([entity.max_conf for entity in response.entities])


def ne_exp_conf_avg(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """Mean chance that two resampled entities agree."""
    return mean_or_none([entity.exp_conf for entity in response.entities])


def random(response: ResponseFacts, _: RewardsSettings) -> float | None:
    """A control that must show no gain."""
    return response.draw


FACTS = (factscore_avg, factscore_lp_avg, factscore_detail_avg, aq_neg_ent_avg, aq_max_conf_avg, aq_exp_conf_avg, aq_samp_conf_avg)
ENTITIES = (ne_neg_ent_avg, ne_max_conf_avg, ne_exp_conf_avg)


def flipped_name(share: float) -> str:
    """Return the name of the reward by a judge that errs on this share of the facts: factscore_flip05_avg for 0.05."""
    return f"factscore_flip{100 * share:02.6g}_avg".replace(".", "_")


def flipped_reward(share: float) -> Reward:
    """Return the share of supported facts as a judge would give it that errs on a share of them, at random.

    Verdicts are flipped, those on claims: text that could not be read, or is about somebody else, is given none. What is flipped at
    5 % is flipped at 10 % as well, so that the rewards differ by the rate alone.
    """

    def reward(response: ResponseFacts, _: RewardsSettings) -> float | None:
        verdicts = [
            fact.supported != (fact.kind == "claim" and draw < share) for fact, draw in zip(response.facts, response.flips, strict=True)
        ]  # fmt: skip
        return sum(verdicts) / len(verdicts) if verdicts else None

    return reward


def known_rewards(entities: bool, flipped: Sequence[float] = ()) -> dict[str, Reward]:
    """Return the rewards that come with the project by their names, in the order of the file's columns.

    Args:
        entities: Whether entities are enabled.
        flipped: Shares of the verdicts that the judges err on whose rewards are wanted, too.
    """
    named = {reward.__name__: reward for reward in (*FACTS, *(ENTITIES if entities else ()), random)}
    return named | {flipped_name(share): flipped_reward(share) for share in flipped}
