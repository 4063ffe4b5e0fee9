"""The local verifier on a tiny random Llama: the verdicts of one full forward pass per fact, for fewer tokens."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import make_llama, make_roberta

from factscoring.facts import Fact
from factscoring.judgements import Judgement, Question
from factscoring.local import LocalVerifier, decide
from volume.errors import ItemError, UsageError

BORN = "Ada Albane is the subject of this article. She was born in Ostrel."
HOME = "Albane lives in Kelford with two dogs."
PRIZE = "She won the Rubyquill."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def verifier(folder: Path) -> LocalVerifier:
    return LocalVerifier(folder, "float32")


def ask(atom: str, *passages: str, topic: str = "Ada Albane") -> Question:
    return Question(topic, Fact(atom, "claim", atom), passages)


QUESTIONS = [
    ask("Albane was born in Ostrel.", BORN, HOME),
    ask("Albane was born in Tarwick, which is a town.", BORN, HOME),
    ask("Albane lives in Kelford.", HOME, BORN),
    ask("Albane lives in Ostrel.", PRIZE, BORN, HOME),
    ask("Albane has two dogs.", HOME),
    ask("Albane has won the Rubyquill twice."),
    ask("Albane is a surveyor."),
    ask("Venn was born in Tarwick.", "Venn is a native of Tarwick.", topic="Oskar Venn"),
    ask("Venn was born in Kelford.", "Venn is a native of Tarwick.", topic="Oskar Venn"),
    ask("Nobody knows.", BORN, topic="Somebody Else"),
    ask("Albane was born in Ostrel.", BORN, HOME),
]


def reference(verifier: LocalVerifier, questions: list[Question]) -> list[tuple[float, float]]:
    """One full forward pass per fact, nothing shared, nothing padded."""
    found = []
    for question in questions:
        segments = verifier.segments(question)
        assert not isinstance(segments, ItemError)
        ids = [token for segment in segments for token in segment]
        with torch.no_grad():
            logits = verifier.model(input_ids=torch.tensor([ids])).logits[0, -1]
        found.append((float(logits[verifier.answers[0]]), float(logits[verifier.answers[1]])))
    return found


@pytest.mark.parametrize("order", ["rank", "page"])
@pytest.mark.parametrize("rows", [1, 2, 16])
def test_logits_are_those_of_one_full_forward_pass_per_fact(folder: Path, order: str, rows: int) -> None:
    verifier = LocalVerifier(folder, "float32", order, rows)
    expected = reference(verifier, QUESTIONS)
    assert max(abs(true - false) for true, false in expected) > 0.1  # the comparison is not one of zeros
    for actual, wanted in zip(verifier.logits(QUESTIONS), expected, strict=True):
        assert actual == pytest.approx(wanted, abs=1e-5)
    judged = verifier.judge(QUESTIONS)
    assert [one.supported for one in judged if isinstance(one, Judgement)] == [true > false for true, false in expected]


def test_verdicts_do_not_depend_on_the_order_or_the_company_of_questions(verifier: LocalVerifier) -> None:
    expected = verifier.logits(QUESTIONS)
    assert expected[0] == pytest.approx(expected[-1], abs=1e-5)  # the same question
    for actual, wanted in zip(verifier.logits(QUESTIONS[::-1]), expected[::-1], strict=True):
        assert actual == pytest.approx(wanted, abs=1e-5)
    for question, wanted in zip(QUESTIONS, expected, strict=True):
        assert verifier.logits([question])[0] == pytest.approx(wanted, abs=1e-5)
    assert verifier.judge([]) == []


def test_every_fact_is_one_row_and_every_shared_beginning_is_run_once(folder: Path) -> None:
    verifier = LocalVerifier(folder, "float32")
    segments = [verifier.segments(question) for question in QUESTIONS[:3]]
    assert not any(isinstance(one, ItemError) for one in segments)
    # Best last: 0 and 1 show HOME, BORN; 2 shows BORN, HOME. Shared: the instruction by all three, then HOME + BORN by two.
    instruction, home, born, claim = (len(ids) for ids in segments[0])
    other, last = len(segments[1][-1]), len(segments[2][-1])
    verifier.judge(QUESTIONS[:3])
    assert verifier.forwards.rows == 3 and verifier.forwards.prefixes == 2
    assert verifier.forwards.tokens == instruction + (home + born) + claim + other + (born + home + last)


def test_a_batch_that_the_gpus_memory_does_not_hold_is_halved_and_loses_no_fact(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = LocalVerifier(folder, "float32", "page", 16)
    expected = verifier.logits(QUESTIONS)
    judge_rows, room = LocalVerifier._judge_rows, 2

    def short_of_memory(self: LocalVerifier, prompts: list[object], *rest: object) -> None:
        if len(prompts) > room:
            raise torch.cuda.OutOfMemoryError("out of memory")
        judge_rows(self, prompts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalVerifier, "_judge_rows", short_of_memory)
    for actual, wanted in zip(verifier.logits(QUESTIONS * 2), expected * 2, strict=True):
        assert actual == pytest.approx(wanted, abs=1e-5)
    room = 0
    with pytest.raises(UsageError, match="memory does not hold"):
        verifier.logits(QUESTIONS)


def test_in_page_order_facts_with_the_same_passages_share_all_but_the_claim(folder: Path) -> None:
    by_rank, by_page = LocalVerifier(folder, "float32"), LocalVerifier(folder, "float32", "page")
    for verifier in (by_rank, by_page):
        verifier.judge([QUESTIONS[0], QUESTIONS[2]])
    assert by_page.segments(QUESTIONS[0])[:-1] == by_page.segments(QUESTIONS[2])[:-1]
    assert by_page.forwards.tokens < by_rank.forwards.tokens
    assert by_page.forwards.rows == by_rank.forwards.rows == 2


def test_a_prompt_begins_with_one_bos_and_ends_before_the_answer(verifier: LocalVerifier) -> None:
    segments = verifier.segments(QUESTIONS[0])
    ids = [token for segment in segments for token in segment]
    assert ids.count(verifier.tokenizer.bos_token_id) == 1 and ids[0] == verifier.tokenizer.bos_token_id
    text = verifier.tokenizer.decode(ids[1:])
    assert text.endswith("Answer:") and text.index(HOME) < text.index(BORN) < text.index(QUESTIONS[0].fact.atom)
    assert verifier.tokenizer.convert_ids_to_tokens(list(verifier.answers)) == ["ĠTrue", "ĠFalse"]


def test_names_of_special_tokens_in_a_text_are_no_special_tokens(verifier: LocalVerifier) -> None:
    assert verifier.segments(ask("Albane was </s>born.", f"<s>{HOME}</s>")) == verifier.segments(ask("Albane was born.", HOME))


def test_a_prompt_that_is_too_long_loses_its_lowest_ranked_passages_and_never_its_claim(tmp_path: Path, verifier: LocalVerifier) -> None:
    length = sum(map(len, verifier.segments(ask("Albane was born in Ostrel.", BORN, HOME))))
    small = LocalVerifier(make_llama(tmp_path, positions=length), "float32")
    question = ask("Albane was born in Ostrel.", BORN, HOME, PRIZE)
    assert small.segments(question) == verifier.segments(replace(question, passages=(BORN, HOME)))
    long = ask("Albane " + "was born in Ostrel and " * 100 + "died.", BORN)
    judged = small.judge([question, long, QUESTIONS[5]])
    assert isinstance(judged[0], Judgement) and isinstance(judged[2], Judgement)
    assert isinstance(judged[1], ItemError) and f"model takes {length}" in str(judged[1])
    assert small.logits([question])[0] == pytest.approx(reference(small, [question])[0], abs=1e-5)


def test_the_decision_is_the_larger_logit_and_its_probability_a_softmax_of_two() -> None:
    # exp(2) / (exp(2) + exp(1)) = 1 / (1 + exp(-1)) = 0.7311
    assert decide(2.0, 1.0) == Judgement(True, p_true=0.7311)
    assert decide(1.0, 2.0) == Judgement(False, p_true=0.2689)
    assert decide(1.0, 1.0) == Judgement(False, p_true=0.5)
    assert decide(-1e4, 1e4) == Judgement(False, p_true=0.0)


def test_logits_that_are_no_numbers_fail_the_item(folder: Path) -> None:
    verifier = LocalVerifier(folder, "float32")
    with torch.no_grad():
        verifier.model.lm_head.weight.fill_(float("nan"))
    (judged,) = verifier.judge(QUESTIONS[:1])
    assert isinstance(judged, ItemError) and "overflows in float32" in str(judged)


def test_the_identity_names_what_verdicts_depend_on(verifier: LocalVerifier, folder: Path) -> None:
    identity = verifier.identity()
    assert identity == LocalVerifier(folder, "float32", batch_rows=3).identity() == json.loads(json.dumps(identity))
    assert identity["verifier_answers"] == {"True": ["ĠTrue", verifier.answers[0]], "False": ["ĠFalse", verifier.answers[1]]}
    assert identity != LocalVerifier(folder, "float32", "page").identity()


def test_a_tokenizer_that_does_not_tell_true_from_false_is_a_usage_error(tmp_path: Path) -> None:
    make_llama(tmp_path, vocabulary=260)  # bytes alone: " True" and " False" begin with the same space
    with pytest.raises(UsageError, match="no two tokens for True and False"):
        LocalVerifier(tmp_path, "float32")


def test_folders_without_a_whole_model_are_usage_errors(tmp_path: Path, folder: Path) -> None:
    def load() -> LocalVerifier:
        return LocalVerifier(tmp_path, "float32")

    with pytest.raises(UsageError, match=r"no config\.json"):
        load()
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UsageError, match="no tokenizer"):
        load()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    with pytest.raises(UsageError, match="no weights"):
        load()
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UsageError, match="cannot be loaded"):
        load()
    with pytest.raises(UsageError, match="passage_order 'best'"):
        LocalVerifier(folder, "float32", "best")


def test_weights_of_another_architecture_are_a_usage_error_and_not_filled_with_random_numbers(tmp_path: Path, folder: Path) -> None:
    make_roberta(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UsageError, match=r"another kind of model|cannot be loaded"):
        LocalVerifier(tmp_path, "float32")


def test_importing_the_backends_imports_neither_torch_nor_numpy(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    modules = "factscoring.factscore, factscoring.local, factscoring.npm, factscoring.dense"
    done = run_python("-c", f"import sys, {modules}; print([name for name in ('torch', 'numpy', 'transformers') if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr
