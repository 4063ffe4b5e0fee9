"""Tiny random models, saved to disk as the real ones are: a Llama, a RoBERTa with a masked language head, a T5 sentence encoder.

Their tokenizers are byte-level BPE, made from a few sentences, so that any text has tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEXTS = [
    "Here are passages from an article about Ada Albane. Tell from them alone whether a claim about Ada Albane is true.",
    "Title: Oskar Venn\nText: Oskar Venn was born in Tarwick and lives in Kelford with two dogs.\n\n",
    "Claim: Albane's birthplace is Ostrel.\nGiven the passages, is this claim True or False?\nAnswer: True",
    "Answer: False\nFact: The town of residence is Kelford. She won the Rubyquill in Ostrel, and he taught a pupil there.",
] * 3  # fmt: skip


def make_llama(folder: Path, hidden: int = 32, layers: int = 2, positions: int = 512, vocabulary: int = 400, kv_heads: int = 2, seed: int = 0) -> Path:
    """Write a random Llama with 4 heads; its tokenizer puts <s> before a text."""
    import torch
    import transformers

    tokenizer = _tokenizer(["<unk>", "<s>", "</s>"], "<s> $A", vocabulary, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=kv_heads,
        max_position_embeddings=positions, bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_roberta(folder: Path, positions: int = 130, seed: int = 0) -> Path:
    """Write a random RoBERTa that takes ``positions`` - 2 tokens, with the special ids of the real one: <s> 0, <pad> 1, </s> 2."""
    import torch
    import transformers

    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
    tokenizer = _tokenizer(list(names.values()), "<s> $A </s>", 400, **names)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=positions,
        type_vocab_size=1, bos_token_id=0, pad_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def make_encoder(folder: Path, seed: int = 0) -> Path:
    """Write a random T5 encoder as a sentence-transformers folder: Transformer, mean Pooling, Normalize."""
    import torch
    import transformers

    tokenizer = _tokenizer(["<pad>", "</s>", "<unk>"], "$A </s>", 400, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0, eos_token_id=1, initializer_factor=2.0
    )
    transformers.T5EncoderModel(config).save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write(folder / "modules.json", [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"} for index, (path, name) in enumerate(modules)
    ])  # fmt: skip
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    _write(folder / "1_Pooling" / "config.json", {
        "word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
    })  # fmt: skip
    (folder / "2_Normalize").mkdir()
    return folder


def _tokenizer(specials: Sequence[str], template: str, size: int, **names: str) -> Any:
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    around = [(name, tokenizer.token_to_id(name)) for name in specials if name in template.split()]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=around)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **names)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
