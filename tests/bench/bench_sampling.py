"""Compares the sampler with the plain way, each prompt repeated for every sample through ``generate``, side by side in one run.

    OMP_NUM_THREADS=1 PYTHONPATH=volume/src:csenv/src .envs/csenv-paper/bin/python tests/bench/bench_sampling.py [--quick] [--dtype float16]

The model is a random Llama of 100 million parameters with a vocabulary of 32,000 (--shape 7b: of Llama-1-7B's shape, for a
GPU); 20 answers of at most 15 tokens are drawn for each question behind a few-shot prefix of 288 tokens, top-k 50 and top-p 0.9,
as in the public code. One token in eight ends an answer, so that answers have six tokens or so, as real ones do; the plain way
cannot stop a row at a string. The same with no stop string says what the stops alone are worth. Token forwards are counted at
the embedding. Compare the ratios only: seconds are this machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from confscoring.sampler import Sampler
from confscoring.sampling import Prompt
from volume.settings import SamplingSettings

SHAPES = {  # hidden size, layers, heads, feed-forward size
    "quick": (256, 4, 4, 688),
    "100m": (640, 12, 10, 1728),
    "7b": (4096, 32, 32, 11008),
}
VOCABULARY, PREFIX, QUESTION, SAMPLES, STEPS = 32000, 288, 14, 20, 15


def make_model(folder: Path, shape: str, dtype: str) -> None:
    """Write a random Llama and a tokenizer of whole words; every eighth word ends in the stop string."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{index}{'#' if index % 8 == 0 else ''}": index for index in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    hidden, layers, heads, inner = SHAPES[shape]
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads,
        max_position_embeddings=2048, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def word(index: int) -> str:
    """Return a word of the vocabulary."""
    index = 3 + index % (VOCABULARY - 3)
    return f"w{index}{'#' if index % 8 == 0 else ''}"


def settings(stop: bool) -> SamplingSettings:
    """Return how answers are drawn."""
    prefix = " ".join(word(7 * index) for index in range(PREFIX - 1)) + " "  # and the token before every text
    return SamplingSettings(model="m", n=SAMPLES, max_new_tokens=STEPS, top_p=0.9, top_k=50, stop=("#",) if stop else (), prefix=prefix, batch_rows=240)


def questions(number: int) -> list[Prompt]:
    """Return questions of three lengths."""
    return [Prompt(f"q{index}", " ".join(word(1000 + 31 * index + place) for place in range(QUESTION + index % 3))) for index in range(number)]


def count_tokens(model: Any) -> Counter[str]:
    """Return a counter of the tokens that go into the model from now on."""
    counter: Counter[str] = Counter()
    model.get_input_embeddings().register_forward_hook(lambda _module, inputs, _output: counter.update(tokens=inputs[0].numel()))
    return counter


def measure(way: str, folder: Path, dtype: str, number: int) -> dict[str, float]:
    """Sample and return tokens run, seconds, and bytes of memory beyond the loaded model."""
    import torch

    cuda = torch.cuda.is_available()
    if way == "plain":
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).eval().to("cuda" if cuda else "cpu")
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    else:
        sampler = Sampler(folder, dtype, 0, "bench")
        model = sampler.model
    counter = count_tokens(model)
    how = settings(stop=way != "endless")
    asked = questions(number)
    sum(float(weight.sum()) for weight in model.parameters())  # brings them into memory, or a file's pages would count for the first way that reads them
    before = torch.cuda.memory_allocated() if cuda else _memory()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    found: dict[str, float] = {}
    if way == "plain":
        for prompt in asked:
            ids = tokenizer(how.prefix + prompt.text, return_tensors="pt")["input_ids"].to(model.device)
            model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=True, num_return_sequences=SAMPLES, max_new_tokens=STEPS, top_p=0.9, top_k=50, pad_token_id=0
            )
    else:
        spent: Counter[str] = Counter()
        run = sampler._runner.run

        def timed(ids: Any, positions: Any, cache: Any) -> Any:
            begin = time.perf_counter()
            logits = run(ids, positions, cache)
            if cuda:
                torch.cuda.synchronize()
            spent["steps" if ids.shape[1] == 1 else "prompts"] += time.perf_counter() - begin  # type: ignore[assignment]
            return logits

        sampler._runner.run = timed  # type: ignore[method-assign]
        samples = sampler.sample(asked, how)
        found["length"] = sum(sample.tokens for row in samples for sample in row) / (number * SAMPLES)  # type: ignore[union-attr]
        found |= spent
    found |= {"seconds": time.perf_counter() - start, "tokens": counter["tokens"], "samples": number * SAMPLES}
    found["memory"] = (torch.cuda.max_memory_allocated() if cuda else _memory(peak=True)) - before
    return found


def _memory(peak: bool = False) -> int:
    """Return this process's memory in bytes, or the most that it ever had."""
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure each way in a process of its own, so that its peak of memory is its own too, and print the ratios."""
    parser = argparse.ArgumentParser(description="The sampler against the plain way.")
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--shape", choices=SHAPES, default="100m")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--way", choices=("plain", "shared", "endless"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    shape = "quick" if given.quick else given.shape
    number = {"plain": 3, "shared": 36, "endless": 36}
    if given.way:
        print(json.dumps(measure(given.way, given.folder, given.dtype, number[given.way])))
        return
    with tempfile.TemporaryDirectory() as name:
        make_model(Path(name), shape, given.dtype)
        ways = {}
        for way in number:
            command = [sys.executable, __file__, "--way", way, "--folder", name, "--dtype", given.dtype, *(["--quick"] if given.quick else [])]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            ways[way] = json.loads(done.stdout.splitlines()[-1])
    plain = ways["plain"]
    print(f"{SAMPLES} samples a question behind {PREFIX} shared tokens, model '{shape}', {given.dtype}:")
    for way, told in (("plain", "prompt repeated through generate"), ("shared", "sampler"), ("endless", "sampler, no answer stops")):
        one = ways[way]
        line = f"  {told:34s} {one['tokens'] / one['samples']:7.1f} tokens run a sample"
        line += f", {one['samples'] / one['seconds']:7.1f} samples/s, {one['memory'] / 2**20:6.0f} MiB"
        if way != "plain":
            tokens = plain["tokens"] / plain["samples"] / (one["tokens"] / one["samples"])
            speed = one["samples"] / one["seconds"] / (plain["samples"] / plain["seconds"])
            line += f"; {tokens:.1f} times fewer tokens, {speed:.1f} times the samples; {one['length']:.1f} tokens an answer"
            line += f"; {one['steps'] / one['seconds']:.0%} of the time in decode steps, {one['prompts'] / one['seconds']:.0%} in prompts"
        print(line)


if __name__ == "__main__":
    main()
