"""What differs between the Transformers versions of the two stacks (4.29 and 5), and between kinds of models: loading, names of
parts, and whose attention reads our cache.

Both can attend to a shared text without copying its keys (confscoring.attention): 5 through its registry of attention
functions, 4.29, which has none, through a forward of LlamaAttention of our own. Other models go the plain way, PlainRunner.
"""

from __future__ import annotations

import contextlib
import io
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confscoring.row_cache import LayerCache, RowCache
from volume.cards import choose_device
from volume.errors import UsageError

# Plain softmax attention over all keys, and a cache that is only appended to and read by the attention function.
_SHARING = ("llama", "mistral", "qwen2", "qwen3", "gpt_neox", "olmo2")
_ATTENTION = "facttune_shared"
# What the layers, the norm before the head, and a layer's projection of its attention heads are called, below the model without its head.
# These models make logits of the norm's output by their head alone.
_LIKE_LLAMA = ("layers", "norm", "self_attn.o_proj")
_PARTS = {"gpt2": ("h", "ln_f", "attn.c_proj"), "gpt_neox": ("layers", "final_layer_norm", "attention.dense")} | dict.fromkeys(
    ("llama", "mistral", "qwen2", "qwen3", "olmo2"), _LIKE_LLAMA
)


def load_model(folder: Path, dtype: str, device_map: str = "") -> tuple[Any, Any]:
    """Load a tokenizer and a causal language model from a local folder, on the GPU where there is one.

    Args:
        device_map: How a model that one card does not hold is shared out: auto, balanced or sequential.

    Raises:
        UsageError: The folder holds no model, or one that cannot be read, or this environment cannot use the GPU.
    """
    if not (folder / "config.json").exists():
        raise UsageError(f"{folder} holds no model (no config.json). Run the stage that makes it (`make plan`), or put the model there.")
    import torch
    import transformers
    from safetensors import SafetensorError

    transformers.logging.set_verbosity_error()
    device = choose_device(torch, dtype)
    shared_out = {"device_map": device_map} if device_map else {}
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # loading bars
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            loader = transformers.AutoModelForCausalLM
            model, found = loader.from_pretrained(folder, torch_dtype=getattr(torch, dtype), output_loading_info=True, **shared_out)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        raise UsageError(f"{folder} cannot be loaded as a model: {type(error).__name__}: {error}. The usual cause is a copy cut short.") from error
    # Transformers would fill them with random numbers and go on. 4.29 also lists what is no weight of its own: tied heads, rotary tables, masks.
    missing = sorted({name for name, _ in model.named_parameters()}.intersection(found["missing_keys"]))
    if missing:
        raise UsageError(f"{folder} lacks weights of its architecture ({len(missing)}, first {missing[0]}): it holds another kind of model.")
    model.eval()
    return tokenizer, model if device_map else model.to(device)


def count_positions(model: Any) -> int | None:
    """Return how many tokens a model can take; None where its configuration does not say."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return None if positions is None else int(positions)


@dataclass(frozen=True)
class Parts:
    """Parts of a model.

    Attributes:
        layers: Its layers, the first to the last.
        norm: The norm between the last of them and the head.
        head: Makes logits.
        projections: Per layer, the linear map whose input is the outputs of its attention heads, one after another.
        tied: Whether the head's weights are the embedding's.
    """

    layers: Sequence[Any]
    norm: Any
    head: Any
    projections: Sequence[Any]
    tied: bool


def find_parts(model: Any, purpose: str) -> Parts:
    """Return the parts of a model that a decoder looks into.

    Raises:
        UsageError: They are not known for its kind; ``purpose`` needs them.
    """
    kind = model.config.model_type
    if kind not in _PARTS:
        raise UsageError(f"{purpose} looks into a model's layers, and those of a model of type '{kind}' are not known. It works with {', '.join(sorted(_PARTS))}.")
    layers, norm, projection = _PARTS[kind]
    head, inner = model.get_output_embeddings(), model.base_model
    stack = getattr(inner, layers)
    tied = head.weight is model.get_input_embeddings().weight
    return Parts(stack, getattr(inner, norm), head, [operator.attrgetter(projection)(layer) for layer in stack], tied)


class EarlyLayers:
    """What the layers below the last would answer: their states of the newest token, kept in passing, through the norm and the head.

    Args:
        parts: The model's.
        layers: Which of them: 0 is the output of the embedding, k that of the k-th layer.
    """

    def __init__(self, parts: Parts, layers: Sequence[int]) -> None:
        self._parts = parts
        self._states: dict[int, Any] = {}
        for number in layers:
            parts.layers[number].register_forward_pre_hook(self._keeper(number))  # what goes into a layer is the output of the one before

    def _keeper(self, number: int) -> Any:
        def keep(_module: Any, inputs: tuple[Any, ...]) -> None:
            self._states[number] = inputs[0][:, -1].clone()  # a view would keep the whole prompt's

        return keep

    def logits(self) -> Iterator[Any]:
        """Yield each layer's logits after the newest token that was run, float32, (rows, vocabulary)."""
        for state in self._states.values():
            yield self._parts.head(self._parts.norm(state.to(self._parts.norm.weight.device))).float()


class Runner:
    """Runs tokens through a model whose attention reads a RowCache.

    ``shares`` says so; of a model that cannot, PlainRunner keeps the cache.
    """

    shares = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self.layers = int(model.config.num_hidden_layers)
        self._new = hasattr(model, "set_attn_implementation")
        if self._new:
            _register()
            model.set_attn_implementation(_ATTENTION)
        else:
            for layer in model.model.layers:
                layer.self_attn.forward = _LlamaAttention(layer.self_attn)

    def start(self, room: int, shared: list[tuple[Any, Any]] | None = None, visible: Any = None) -> RowCache:
        """Return an empty cache: room for so many tokens of a row's own, after the shared text's."""
        return RowCache([LayerCache(room, shared[index] if shared else None, visible) for index in range(self.layers)])

    def run(self, ids: Any, positions: Any, cache: RowCache) -> Any:
        """Run the newest tokens, shape (rows, new), at their positions; return the logits after the last, float32, (rows, vocabulary)."""
        if self._new:
            return self.model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()
        past = [_Past(layer) for layer in cache.layers]
        hidden = self.model.model(input_ids=ids, position_ids=positions, past_key_values=past, use_cache=False).last_hidden_state
        return self.model.lm_head(hidden[:, -1]).float()


class PlainCache:
    """Keys and values as Transformers keeps them, with the shared ones copied for every row."""

    def __init__(self, past: Any = None) -> None:
        self.past = past

    def repeat(self, times: int, _room: int) -> PlainCache:
        """Return a cache in which every row stands ``times`` times."""
        if isinstance(self.past, tuple):
            return PlainCache(tuple(tuple(part.repeat_interleave(times, dim=0) for part in layer) for layer in self.past))
        self.past.batch_repeat_interleave(times)
        return self

    def fill(self, holes: Any, movers: Any, rows: int) -> None:
        """Keep ``rows`` rows: those at ``movers`` go to the places ``holes``."""
        import torch

        places = torch.arange(rows, device=holes.device)
        places[holes] = movers
        if isinstance(self.past, tuple):
            self.past = tuple(tuple(part.index_select(0, places.to(part.device)) for part in layer) for layer in self.past)
        else:
            self.past.batch_select_indices(places)


class PlainRunner:
    """Runs tokens through any causal model, by its own cache: every prompt whole, its keys copied for every sample."""

    shares = False

    def __init__(self, model: Any) -> None:
        self.model = model

    def start(self, _room: int, _shared: Any = None, _visible: Any = None) -> PlainCache:
        """Return an empty cache."""
        return PlainCache()

    def run(self, ids: Any, positions: Any, cache: PlainCache) -> Any:
        """Run the newest tokens, shape (rows, new); return the logits after the last, float32, (rows, vocabulary)."""
        out = self.model(input_ids=ids, past_key_values=cache.past, use_cache=True)
        cache.past = out.past_key_values
        return out.logits[:, -1].float()


def open_runner(model: Any) -> Runner | PlainRunner:
    """Return the runner for a model."""
    kind = model.config.model_type
    window = getattr(model.config, "sliding_window", None) if getattr(model.config, "use_sliding_window", True) else None
    known = kind in _SHARING if hasattr(model, "set_attn_implementation") else kind == "llama"
    return Runner(model) if known and window is None else PlainRunner(model)


def _register() -> None:
    """Make our attention known to Transformers 5; without a mask of that name it makes none, and none is needed."""
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, lambda _module, query, layer, *_, **__: (layer.attend(query).transpose(1, 2), None))


class _Past:
    """A layer's past as 4.29's model takes it: ``past[0][0].shape[2]`` is its number of tokens, for a mask that we do not use."""

    def __init__(self, cache: LayerCache) -> None:
        self.cache = cache
        self.shape = (cache.rows, 0, cache.filled, 0)

    def __getitem__(self, _index: int) -> _Past:
        return self


class _LlamaAttention:
    """The forward of 4.29's LlamaAttention with our cache and attention in place of its concatenations."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, hidden_states: Any, position_ids: Any, past_key_value: _Past, **_: Any) -> tuple[Any, None, None]:
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        module, cache = self.module, past_key_value.cache
        rows, new, _width = hidden_states.shape
        query, keys, values = (
            part(hidden_states).view(rows, new, module.num_heads, module.head_dim).transpose(1, 2) for part in (module.q_proj, module.k_proj, module.v_proj)
        )
        cos, sin = module.rotary_emb(values, seq_len=module.max_position_embeddings)
        query, keys = apply_rotary_pos_emb(query, keys, cos, sin, position_ids)
        cache.append(keys, values)
        out = cache.attend(query).transpose(1, 2).reshape(rows, new, -1)
        return module.o_proj(out), None, None
