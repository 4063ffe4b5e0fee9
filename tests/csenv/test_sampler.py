"""The sampler on a tiny random model: the same texts whatever the batches, and the right distribution."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from tiny_models import make_llama

from confscoring.compat import PlainRunner, open_runner
from confscoring.sampler import Sampler
from confscoring.sampling import Prompt
from confscoring.synthetic.tokenizer import model_config, write_tokenizer
from volume.errors import ItemError, UsageError
from volume.settings import SamplingSettings

WORDS = {f"w{index}" for index in range(28)} | {"."}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    path = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**model_config(len(WORDS) + 4, 0.25), "initializer_range": 0.6})
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    write_tokenizer(path, WORDS)
    return path


@pytest.fixture(scope="module")
def reference(folder: Path):  # type: ignore[no-untyped-def]
    """The same model as Transformers runs it."""
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def sampler(folder: Path) -> Sampler:
    return Sampler(folder, "float32", 0, "toy")


PROMPTS = [Prompt(f"item {index}", " ".join(f"w{(index * 7 + step) % 28}" for step in range(1 + index % 3))) for index in range(9)]


def settings(**changes: object) -> SamplingSettings:
    return SamplingSettings(**{"model": "m", "n": 4, "max_new_tokens": 12, "stop": (".",), **changes})  # type: ignore[arg-type]


def texts(samples: list[list]) -> list[list[str]]:
    return [[sample.text for sample in row] for row in samples]


def test_texts_do_not_depend_on_batch_size_or_order(sampler: Sampler) -> None:
    expected = texts(sampler.sample(PROMPTS, settings()))
    assert len({text for row in expected for text in row}) > 20
    for rows in (1, 5, 8, 64):
        assert texts(sampler.sample(PROMPTS, settings(batch_rows=rows))) == expected
    backwards = texts(sampler.sample(PROMPTS[::-1], settings()))
    assert backwards[::-1] == expected
    assert texts(sampler.sample(PROMPTS[4:5], settings())) == expected[4:5]


def test_fewer_samples_are_the_first_of_more(sampler: Sampler) -> None:
    more = texts(sampler.sample(PROMPTS, settings(n=6)))
    assert texts(sampler.sample(PROMPTS, settings(n=2))) == [row[:2] for row in more]


def test_a_finished_row_is_cut_before_the_stop_string_and_leaves_the_others_alone(sampler: Sampler) -> None:
    stopped = sampler.sample(PROMPTS, settings(n=8))
    free = sampler.sample(PROMPTS, settings(n=8, stop=()))
    assert any("." in sample.text for row in free for sample in row)
    for short, long in zip((s for row in stopped for s in row), (s for row in free for s in row), strict=True):
        assert short.text == long.text.split(".")[0].strip()
        assert short.tokens <= long.tokens <= 12


def test_the_first_token_has_the_models_distribution(sampler: Sampler, reference) -> None:  # type: ignore[no-untyped-def]
    prompt = PROMPTS[0]
    ids = torch.tensor([sampler.tokenizer(prompt.text)["input_ids"]])
    with torch.no_grad():
        expected = torch.softmax(reference(ids).logits[0, -1].double(), dim=-1)
    drawn = sampler.sample([prompt], settings(n=4000, max_new_tokens=1, stop=(), batch_rows=4000))[0]
    counts = Counter(sample.text for sample in drawn)
    for token in expected.topk(5).indices.tolist():
        word = sampler.tokenizer.decode([token], skip_special_tokens=True)
        if word:
            share, p = counts[word] / 4000, expected[token].item()
            assert abs(share - p) < 4 * (p * (1 - p) / 4000) ** 0.5


def test_greedy_equals_an_argmax_loop_without_cache(sampler: Sampler, reference) -> None:  # type: ignore[no-untyped-def]
    prompt = PROMPTS[1]
    ids = sampler.tokenizer(prompt.text)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        for _ in range(10):
            token = int(reference(torch.tensor([ids])).logits[0, -1].argmax())
            if token == sampler.tokenizer.eos_token_id:
                break
            ids = [*ids, token]
    expected = sampler.tokenizer.decode(ids[start:], skip_special_tokens=True)
    assert sampler.sample([prompt], settings(n=1, temperature=0.0, max_new_tokens=10, stop=()))[0][0].text == expected


def test_one_prompt_is_run_once_for_all_its_samples(sampler: Sampler) -> None:
    seen: list[tuple[int, ...]] = []
    hook = sampler.model.get_input_embeddings().register_forward_hook(lambda _module, inputs, _output: seen.append(tuple(inputs[0].shape)))
    sampler.sample(PROMPTS[:1], settings(n=16, stop=()))
    hook.remove()
    assert seen[0] == (1, 2)  # BOS and one word: once, not sixteen times
    assert all(shape[1] == 1 and shape[0] <= 16 for shape in seen[1:])


def test_margins_are_kept(sampler: Sampler) -> None:
    assert all(0 <= sample.margin < 1 for row in sampler.sample(PROMPTS, settings()) for sample in row)


def test_a_model_with_tied_embeddings_loads_and_one_that_lacks_weights_does_not(tmp_path: Path) -> None:
    """Transformers 5 writes neither tied heads nor rotary tables; 4.29 lists both as missing."""
    from safetensors.torch import load_file, save_file

    for name, tied in (("tied", True), ("apart", False)):
        folder = make_llama(tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": tied}))
        weights = next(folder.glob("*.safetensors"), None)
        if weights is None:  # 4.29 writes a .bin
            kept = torch.load(folder / "pytorch_model.bin")
            (folder / "pytorch_model.bin").unlink()
        else:
            kept = load_file(weights)
            weights.unlink()
        written = {key: value.clone() for key, value in kept.items() if key != "lm_head.weight" and "inv_freq" not in key}
        save_file(written, folder / "model.safetensors", {"format": "pt"})
        if tied:
            assert Sampler(folder, "float32", 0, "toy").sample([Prompt("a", "Where")], settings(n=2))
        else:
            with pytest.raises(UsageError, match="lacks weights of its architecture .1, first lm_head.weight"):
                Sampler(folder, "float32", 0, "toy")


def test_a_folder_without_a_model_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="holds no model"):
        Sampler(tmp_path, "float32", 0, "toy")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(UsageError, match="cannot be loaded"):
        Sampler(tmp_path, "float32", 0, "toy")


PREFIX = "Where was Ada Albane born? Ostrel\nWho was Oskar Venn? a chemist\nWhen did Marit Oslund die? 1931\n"
ASKED = ("Where does Pim live?", "Who drew the first harbour map?", "When?", "Which town is it?", "Why?")
QUESTIONS = [Prompt(f"q {index}", text) for index, text in enumerate(ASKED)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("llama"), positions=2048)


def shared_settings(**changes: object) -> SamplingSettings:
    return settings(**{"prefix": PREFIX, "n": 5, "top_k": 20, "top_p": 0.9, "stop": ("\n",), **changes})


def test_a_shared_prefix_is_run_once_and_changes_no_text(llama: Path) -> None:
    sharing, plain = Sampler(llama, "float32", 3, "toy"), Sampler(llama, "float32", 3, "toy")
    expected = texts(plain.sample([Prompt(p.item, PREFIX + p.text) for p in QUESTIONS], shared_settings(prefix="")))
    assert plain.forwards.shared == 0
    for rows in (2, 5, 11, 64):
        assert texts(sharing.sample(QUESTIONS, shared_settings(batch_rows=rows))) == expected
    prefix = len(sharing.tokenizer(PREFIX)["input_ids"])
    assert prefix > 50 and sharing.forwards.shared == prefix  # once for all four calls
    assert sharing.forwards.prompts < plain.forwards.prompts
    assert len({text for row in expected for text in row}) > 20


def test_each_prompt_sees_its_own_part_of_a_shared_text(llama: Path) -> None:
    """Entities: every prompt is a beginning of one response, of another length."""
    response = "Here are passages from an article about Ada Albane. Oskar Venn was born in Tarwick and lives in Kelford with dogs, where he taught a pupil in 1931."
    ends = ("lives", "Kelford", "dogs", "taught", "1931")
    starts = [Prompt(f"e {word}", response[: response.index(f" {word}")]) for word in ends]
    alone = Sampler(llama, "float32", 0, "toy").sample(starts, settings(n=6))
    sampler = Sampler(llama, "float32", 0, "toy")
    together = sampler.sample(starts, settings(n=6), shared=response)
    assert texts(together) == texts(alone)
    assert sampler.forwards.shared == len(sampler.tokenizer(response)["input_ids"])
    assert sampler.forwards.prompts == len(starts)  # each one's last token


def test_half_precision_gives_the_same_texts_on_every_run(llama: Path) -> None:
    sampler = Sampler(llama, "bfloat16", 0, "toy")
    assert next(sampler.model.parameters()).dtype == torch.bfloat16
    expected = texts(sampler.sample(QUESTIONS, shared_settings(batch_rows=5)))
    assert texts(sampler.sample(QUESTIONS, shared_settings(batch_rows=5))) == expected
    assert expected != texts(Sampler(llama, "float32", 0, "toy").sample(QUESTIONS, shared_settings(batch_rows=5)))


def test_a_type_that_the_processor_cannot_calculate_in_is_a_clear_error(llama: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU can")
    try:
        torch.ones(1, 1, dtype=torch.float16) @ torch.ones(1, 1, dtype=torch.float16)
    except RuntimeError:  # torch 2.0
        with pytest.raises(UsageError, match="cannot calculate in float16 on the CPU"):
            Sampler(llama, "float16", 0, "toy")
    else:
        assert Sampler(llama, "float16", 0, "toy").sample(QUESTIONS[:1], shared_settings())


def test_a_prompt_may_ask_for_fewer_tokens_than_the_others(llama: Path) -> None:
    sampler = Sampler(llama, "float32", 0, "toy")
    short = sampler.sample([Prompt("a", "Where", 2), Prompt("b", "Where")], settings(n=8, stop=()))
    full = sampler.sample([Prompt("a", "Where"), Prompt("b", "Where")], settings(n=8, stop=()))
    assert [sample.tokens for sample in short[0]] == [min(2, sample.tokens) for sample in full[0]]
    assert texts(short)[1] == texts(full)[1]


def test_a_prompt_that_the_model_has_no_room_for_is_reported_alone(tmp_path: Path) -> None:
    sampler = Sampler(make_llama(tmp_path, positions=64), "float32", 0, "toy")
    found = sampler.sample([Prompt("a", "word " * 60), Prompt("b", "Where")], settings(n=2))
    assert isinstance(found[0], ItemError) and "the model takes 64" in str(found[0])
    assert len(found[1]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("fits", [7, 1])
def test_a_batch_that_memory_does_not_hold_is_halved_and_no_row_is_lost(
    llama: Path, monkeypatch: pytest.MonkeyPatch, fits: int, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = Sampler(llama, "float32", 3, "toy")
    expected = texts(sampler.sample(QUESTIONS, shared_settings()))
    run = sampler._runner.run
    refused = []

    def scarce(ids, positions, cache):  # type: ignore[no-untyped-def]
        if ids.shape[1] == 1 and ids.shape[0] > fits:
            refused.append(ids.shape[0])
            raise torch.cuda.OutOfMemoryError("CUDA out of memory") if len(refused) % 2 else RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return run(ids, positions, cache)

    monkeypatch.setattr(sampler._runner, "run", scarce)
    assert texts(sampler.sample(QUESTIONS, shared_settings())) == expected
    assert refused and "memory does not hold" in capsys.readouterr().err
    before = len(refused)
    assert texts(sampler.sample(QUESTIONS, shared_settings())) == expected
    assert len(refused) == before  # what was learned is kept


def test_memory_that_holds_not_even_one_row_is_a_clear_error(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(llama, "float32", 3, "toy")

    def scarce(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sampler._runner, "run", scarce)
    with pytest.raises(UsageError, match="memory does not hold the model and one text of"):
        sampler.sample(QUESTIONS, shared_settings())
    monkeypatch.setattr(sampler._runner, "run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # nothing else is taken for it
        sampler.sample(QUESTIONS, shared_settings())


def test_the_cache_gives_the_models_own_logits(llama: Path) -> None:
    """Prefix, question and three steps through our attention against one plain pass over the whole text."""
    import transformers

    sampler = Sampler(llama, "float32", 0, "toy")
    plain = transformers.AutoModelForCausalLM.from_pretrained(llama).eval()
    prefix, own = sampler.tokenizer(PREFIX)["input_ids"], torch.tensor([[9, 8, 7], [5, 6, 30]])
    later = torch.tensor([[11, 12, 13], [21, 22, 23], [31, 32, 33], [41, 42, 43]])
    with torch.inference_mode():
        shared = sampler._share(tuple(prefix))
        cache = sampler._runner.start(3, shared)
        at = len(prefix)
        found = [sampler._runner.run(own, at + torch.arange(3).expand(2, 3), cache)]
        cache = cache.repeat(2, 6)
        for step in range(3):
            found.append(sampler._runner.run(later[:, step : step + 1], torch.full((4, 1), at + 3 + step), cache))
        whole = torch.cat([torch.tensor([prefix]).expand(4, -1), own.repeat_interleave(2, dim=0), later], dim=1)
        expected = plain(whole).logits
    torch.testing.assert_close(found[0], expected[::2, at + 2], rtol=1e-4, atol=1e-4)
    for step in range(3):
        torch.testing.assert_close(found[step + 1], expected[:, at + 3 + step], rtol=1e-4, atol=1e-4)


def test_models_of_other_kinds_go_the_plain_way_and_give_the_same_on_any_batch(tmp_path: Path, llama: Path) -> None:
    import transformers

    torch.manual_seed(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    config = transformers.GPT2Config(vocab_size=len(tokenizer), n_positions=512, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2, initializer_range=0.3)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sampler = Sampler(tmp_path, "float32", 0, "toy")
    assert isinstance(sampler._runner, PlainRunner)
    expected = texts(sampler.sample(QUESTIONS, shared_settings()))
    assert texts(sampler.sample(QUESTIONS, shared_settings(batch_rows=7))) == expected
    greedy = shared_settings(n=1, temperature=0.0, stop=(), max_new_tokens=5)
    ids = tokenizer(PREFIX + QUESTIONS[0].text, return_tensors="pt")["input_ids"]
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    by_generate = model.generate(ids, do_sample=False, max_new_tokens=5, pad_token_id=2)[0, ids.shape[1] :]
    assert texts(sampler.sample(QUESTIONS[:1], greedy))[0][0] == tokenizer.decode(by_generate, skip_special_tokens=True).strip()


def test_pythia_shares_where_transformers_lets_it(tmp_path: Path, llama: Path) -> None:
    import transformers

    torch.manual_seed(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    config = transformers.GPTNeoXConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=512,
        bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    transformers.GPTNeoXForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sampler = Sampler(tmp_path, "float32", 0, "toy")
    found = texts(sampler.sample(QUESTIONS, shared_settings()))
    assert (sampler.forwards.shared > 0) == hasattr(sampler.model, "set_attn_implementation")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    plain = Sampler(tmp_path, "float32", 0, "toy")
    plain.model, plain._runner = model, PlainRunner(model)
    assert texts(plain.sample(QUESTIONS, shared_settings())) == found
    assert open_runner(model).shares == hasattr(model, "set_attn_implementation")


def test_a_model_that_accelerate_places_gives_the_same_texts(llama: Path) -> None:
    expected = texts(Sampler(llama, "float32", 3, "toy").sample(QUESTIONS, shared_settings()))
    assert texts(Sampler(llama, "float32", 3, "toy", device_map="auto").sample(QUESTIONS, shared_settings())) == expected
