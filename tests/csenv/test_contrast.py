"""DoLa: numbers worked by hand, and texts against a plain loop that keeps no cache and knows no batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sampling_volume import write_definition, write_volume
from tiny_models import make_llama

from confscoring.contrast import candidate_layers, contrast, js_divergence, penalise
from confscoring.draws import uniforms
from confscoring.sampler import Sampler
from confscoring.samplers import open_sampler
from confscoring.sampling import Prompt
from volume.context import open_context
from volume.errors import UsageError
from volume.settings import DecoderSettings, SamplingSettings

PREFIX = "Where was Ada Albane born? Ostrel\nWho was Oskar Venn? a chemist\nWhen did Marit Oslund die? 1931\n"
ASKED = ("Where does Pim live?", "Who drew the first harbour map?", "Q1?", "Q2?", "Q3?")
PROMPTS = [Prompt(f"q {index}", text) for index, text in enumerate(ASKED)]
LAYERS, STEPS = 6, 10
SAMPLED = SamplingSettings(model="m", n=3, max_new_tokens=STEPS, temperature=0.8)


def log(*shares: float) -> torch.Tensor:
    return torch.tensor([shares]).log()


def test_the_divergence_of_four_tokens_is_that_worked_by_hand() -> None:
    last, other = log(0.5, 0.25, 0.125, 0.125), log(0.25, 0.25, 0.25, 0.25)
    # The mean is 3/8, 2/8, 1.5/8, 1.5/8.
    forth = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0  # halves of 1/8 against 1.5/8: log(2/3), two of them
    back = 0.25 * math.log(2 / 3) + 0.5 * math.log(4 / 3)
    assert js_divergence(last.exp(), last, other + 7).item() == pytest.approx((forth + back) / 2, abs=1e-6)
    apart = js_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, -math.inf]]).clamp(min=-1e30), torch.tensor([[-1e30, 0.0]]))
    assert apart.item() == pytest.approx(math.log(2), abs=1e-6)  # the most that there is
    assert js_divergence(last.exp(), last, last).item() == pytest.approx(0, abs=1e-7)


def test_the_contrast_of_four_tokens_is_that_worked_by_hand() -> None:
    last, near, far = log(0.4, 0.3, 0.25, 0.05), log(0.4, 0.3, 0.2, 0.1), log(0.1, 0.6, 0.25, 0.05)
    expected = [math.log(4), math.log(0.5), 0.0, -math.inf]  # against the one that differs most; 0.05 is less than half of 0.4
    for earlier in ([near, far], [far, near]):
        scores, lead = contrast(last, iter(earlier), 0.5)
        assert scores.dtype == torch.float64 and scores[0].tolist() == pytest.approx(expected, abs=1e-6)
        gap = js_divergence(last.exp(), last, far) - js_divergence(last.exp(), last, near)
        assert lead.item() == pytest.approx(min(gap.item(), 0.05), abs=1e-6)  # 0.25 is 0.05 above the bound of 0.2
    assert contrast(last, iter([near]), 0.45)[1].item() == pytest.approx(0.07, abs=1e-6)  # one layer has no lead; 0.25 is 0.07 above 0.18
    assert contrast(last, iter([near]), 0.1)[0][0].tolist() == pytest.approx([0, 0, math.log(1.25), math.log(0.5)], abs=1e-6)
    # Of two rows each takes its own layer.
    scores, _ = contrast(torch.cat([last, last]), iter([torch.cat([near, far]), torch.cat([far, near])]), 0.5)
    assert scores[0].tolist() == scores[1].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_lead_is_that_over_the_second_best_layer() -> None:
    last = log(0.4, 0.3, 0.25, 0.05)
    others = [log(0.1, 0.6, 0.25, 0.05), log(0.2, 0.5, 0.25, 0.05), log(0.05, 0.65, 0.25, 0.05), log(0.4, 0.3, 0.25, 0.05)]
    divergences = sorted((js_divergence(last.exp(), last, other).item() for other in others), reverse=True)
    for order in ((0, 1, 2, 3), (2, 0, 1, 3), (3, 2, 1, 0), (1, 2, 0, 3)):
        assert contrast(last, (others[place] for place in order), 0.01)[1].item() == pytest.approx(min(divergences[0] - divergences[1], 0.046), abs=1e-6)


def test_a_penalty_makes_scores_of_present_tokens_worse_whatever_their_sign() -> None:
    scores = torch.tensor([[2.0, -2.0, 1.0, -math.inf]])
    assert penalise(scores, torch.tensor([[True, True, False, True]]), 2.0).tolist() == [[1.0, -4.0, 1.0, -math.inf]]


@pytest.mark.parametrize(("layers", "number", "tied", "expected"), [
    ("low", 32, False, (0, 2, 4, 6, 8, 10, 12, 14)), ("high", 32, False, (16, 18, 20, 22, 24, 26, 28, 30)), ("low", 32, True, (2, 4, 6, 8, 10, 12, 14)),
    ("low", 2, False, (0,)), ("high", 2, False, (1,)), ("low", 2, True, (1,)), ("high", 2, True, (1,)), ("low", 1, False, (0,)), ("high", 1, True, (0,)),
    ("low", 1, True, (0,)), ("low", 7, False, (0, 2)), ("high", 7, False, (3, 5)), ("4, 0,2,2", 6, True, (0, 2, 4)), ("5", 6, False, (5,)),
])  # fmt: skip
def test_low_and_high_are_every_second_layer_of_a_half(layers: str, number: int, tied: bool, expected: tuple[int, ...]) -> None:
    assert candidate_layers(layers, number, tied) == expected


def test_a_layer_that_the_model_does_not_have_below_its_last_is_named() -> None:
    with pytest.raises(UsageError, match="'0,6', but the model has 6 layers: the earlier ones are 0 .the embedding. to 5"):
        candidate_layers("0,6", 6, False)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("llama"), layers=LAYERS)


def dola(**changes: Any) -> DecoderSettings:
    return DecoderSettings(**{"kind": "dola", **changes})


def texts(samples: Any) -> list[list[str]]:
    return [[sample.text for sample in row] for row in samples]


def expected_texts(folder: Path, settings: SamplingSettings, layers: Sequence[int], decoder: DecoderSettings) -> list[list[str]]:
    """Return what a plain loop draws: the whole text through the model for every token, the states of all layers kept."""
    import transformers

    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    norm = getattr(model.base_model, "norm", None) or getattr(model.base_model, "ln_f", None) or model.base_model.final_layer_norm

    def said(tokens: list[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    found: list[list[str]] = []
    for prompt in PROMPTS:
        start = tokenizer(settings.prefix + prompt.text)["input_ids"]
        found.append([])
        for sample in range(settings.n):
            ids, draws = list(start), uniforms(0, "toy", prompt.item, sample, STEPS)
            for step in range(STEPS):
                with torch.no_grad():
                    out = model(torch.tensor([ids]), output_hidden_states=True)
                    earlier = [model.get_output_embeddings()(norm(out.hidden_states[layer][0, -1])).double().softmax(-1) for layer in layers]
                last = out.logits[0, -1].double().softmax(-1)
                divergences = [sum(float((p * (p / ((p + q) / 2)).log()).sum()) for p, q in ((last, other), (other, last))) / 2 for other in earlier]
                chosen = earlier[divergences.index(max(divergences))]
                p, q = last.tolist(), chosen.tolist()
                scores = {x: math.log(p[x]) - math.log(q[x]) for x in range(len(p)) if p[x] >= decoder.alpha * max(p)}
                if decoder.repetition_penalty > 1:
                    scores = {x: (f * decoder.repetition_penalty if f < 0 else f / decoder.repetition_penalty) if x in ids else f for x, f in scores.items()}
                if settings.temperature == 0:
                    token = max(scores, key=lambda x: scores[x])
                else:
                    masses = {x: math.exp(f / settings.temperature) for x, f in scores.items()}
                    kept = sorted(masses, key=lambda x: -masses[x])[: settings.top_k or None]
                    total, held, nucleus = sum(masses[x] for x in kept), 0.0, []
                    for x in kept:
                        if held / total < settings.top_p:
                            nucleus.append(x)
                        held += masses[x]
                    total, held = sum(masses[x] for x in nucleus), 0.0
                    for token in sorted(nucleus):
                        held += masses[token] / total
                        if held > draws[step]:
                            break
                if token == tokenizer.eos_token_id:
                    break
                ids.append(token)
                if any(stop in said(ids[len(start) :]) for stop in settings.stop):
                    break
            text = said(ids[len(start) :])
            for stop in settings.stop:
                text = text.split(stop)[0]
            found[-1].append(text.strip())
    return found


CASES = [
    ({}, {}, "high", (3, 5)), ({}, {"temperature": 0.0, "n": 1}, "low", (0, 2)), ({"alpha": 0.01}, {"top_k": 4, "top_p": 0.8}, "0,1,2,3,4,5", (0, 1, 2, 3, 4, 5)),
    ({"repetition_penalty": 3.0}, {"prefix": PREFIX, "n": 6, "stop": ("a", "e")}, "high", (3, 5)),
    ({"alpha": 0.001}, {"prefix": PREFIX, "temperature": 1.0, "top_p": 0.9}, "1,4", (1, 4)),
    ({"repetition_penalty": 1.5, "alpha": 0.02}, {"prefix": PREFIX, "temperature": 0.0, "n": 1}, "low", (0, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("how", "drawn", "layers", "numbers"), CASES)
def test_texts_are_those_of_a_plain_loop_whatever_the_batches(llama: Path, how: dict, drawn: dict, layers: str, numbers: tuple[int, ...]) -> None:  # type: ignore[type-arg]
    from dataclasses import replace

    decoder, settings = dola(layers=layers, **how), replace(SAMPLED, **drawn)
    expected = expected_texts(llama, settings, numbers, decoder)
    assert len({text for row in expected for text in row}) >= len(PROMPTS)
    sampler = Sampler(llama, "float32", 0, "toy", dola=decoder)
    margins = None
    for rows in (1, 2, 64):
        found = sampler.sample(PROMPTS, replace(settings, batch_rows=rows))
        assert texts(found) == expected
        margins = margins or [sample.margin for row in found for sample in row]  # type: ignore[union-attr]
        assert [sample.margin for row in found for sample in row] == pytest.approx(margins, abs=2e-6)  # type: ignore[union-attr]
    assert (sampler.forwards.shared > 0) == bool(settings.prefix)
    assert texts(Sampler(llama, "float32", 0, "toy").sample(PROMPTS, settings)) != expected


@pytest.mark.parametrize("kind", ["GPT2", "GPTNeoX"])
def test_other_kinds_of_models_are_contrasted_too(kind: str, tmp_path: Path, llama: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    shape = {"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3, "hidden_size": 32, "num_hidden_layers": 4,
             "num_attention_heads": 4, "max_position_embeddings": 512}  # fmt: skip
    more = {"intermediate_size": 64} if kind == "GPTNeoX" else {}
    torch.manual_seed(1)
    model = (transformers.GPT2LMHeadModel if kind == "GPT2" else transformers.GPTNeoXForCausalLM)(getattr(transformers, f"{kind}Config")(**shape, **more))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    sampler = Sampler(tmp_path, "float32", 0, "toy", dola=dola(layers="1,2,3"))
    assert texts(sampler.sample(PROMPTS, SAMPLED)) == expected_texts(tmp_path, SAMPLED, (1, 2, 3), dola())


def test_a_model_whose_layers_are_not_known_is_refused(tmp_path: Path, llama: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    config = transformers.OPTConfig(vocab_size=len(tokenizer), hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32)
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="DoLa looks into a model's layers, and those of a model of type 'opt' are not known. It works with gpt2, gpt_neox, llama"):
        Sampler(tmp_path, "float32", 0, "toy", dola=dola())


def test_a_token_takes_one_forward_and_margins_know_of_the_choice_of_layer(llama: Path) -> None:
    runs, margins = [], []
    for decoder in (None, dola(layers="0,1,2,3,4,5", alpha=0.5)):
        sampler = Sampler(llama, "float32", 0, "toy", dola=decoder)
        seen: list[int] = []
        sampler.model.base_model.layers[3].register_forward_hook(lambda *_, seen=seen: seen.append(1))
        found = sampler.sample([Prompt("q", "Who")], SamplingSettings(model="m", n=1, max_new_tokens=1, temperature=0.0))
        runs.append(len(seen))
        margins.append(found[0][0].margin)  # type: ignore[union-attr]
        ids = torch.tensor([sampler.tokenizer("Who")["input_ids"]])
    assert runs[0] == runs[1] == 1
    with torch.no_grad():
        out = sampler.model.__class__.from_pretrained(llama).eval()(ids, output_hidden_states=True)
        norm, head = sampler.model.base_model.norm, sampler.model.lm_head
        scores, lead = contrast(out.logits[:, -1], (head(norm(state[:, -1])) for state in out.hidden_states[:-1]), 0.5)
        likeliest = scores.softmax(-1).topk(2).values[0]
    assert margins[1] == pytest.approx(min(float(likeliest[0] - likeliest[1]), float(lead)), rel=1e-2, abs=1e-6)


def test_only_a_run_with_a_decoder_is_decoded_by_it(tmp_path: Path) -> None:
    definition = write_definition(write_volume(tmp_path), more="")
    more = '[decoders.d]\nkind="dola"\nlayers="0"\n[runs.base]\nkind = "base"\nlabel = "b"\n[runs.dola]\nkind = "decode"\nstart = "base"\ndecoder = "d"\nlabel = "d"\n'
    definition.write_text(definition.read_text() + more)
    (tmp_path / "dataset_mine" / "questions_per_topic_test.json").write_text("[]")
    found = {}
    for run in ("base", "dola"):
        ctx = open_context("responses", ["--dataset", str(definition), "--data-dir", str(tmp_path), "--run", run, "--split", "test"])
        assert ctx.definition.responses
        found[run] = texts(open_sampler(ctx, ctx.definition.responses, run).sample(PROMPTS, SAMPLED))
    folder = tmp_path / "models" / "tiny"
    assert found["base"] == texts(Sampler(folder, "float32", 0, "mine").sample(PROMPTS, SAMPLED))
    assert found["dola"] == texts(Sampler(folder, "float32", 0, "mine", dola=dola(layers="0")).sample(PROMPTS, SAMPLED))
    assert found["dola"] != found["base"]
