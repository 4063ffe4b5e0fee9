"""Builds a model that was published as a difference to another: tuned = base + difference, tensor by tensor.

    python -m factscoring.recover_model --base models/llama-7b --difference models/instruct-llama-7b-wdiff --output models/inst-llama-7b

FActScore's verifier is published so, and this gives what FActScore's own recovery gives, rounded to float16: sums are in float32, and rows
of the embeddings that the base lacks (a padding token) count as the mean of the base's rows. Weights may be safetensors or PyTorch's
pickles, in one file or several. In memory are one shard of the output and, of pickles, one file of each model at a time.
The output takes its name only when it is whole.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volume.errors import COMPLETE, UsageError, VolumeError, tell_errors
from volume.files import write_json

if TYPE_CHECKING:
    import torch

_SHARD = 2 * 2**30  # bytes of an output file
_ROWS = ("embed_tokens.weight", "lm_head.weight")  # a row for each token
_COMPUTED = "rotary_emb.inv_freq"  # saved by older versions of Transformers; it follows from the configuration
_WEIGHTS = (".safetensors", ".bin", ".index.json", ".pt", ".h5", ".msgpack")
_TOKENIZER = "tokenizer.json"


class Weights:
    """The tensors of a model's folder, read one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: tuple[str, Any] = ("", None)
        self._stack = contextlib.ExitStack()
        self.places = self._find()

    def _find(self) -> dict[str, str]:
        """Return the file that each tensor is in."""
        for form in ("model.safetensors", "pytorch_model.bin"):
            index = self.folder / f"{form}.index.json"
            if index.is_file():
                try:
                    places = {str(name): str(file) for name, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()}
                except (ValueError, KeyError, AttributeError) as error:
                    raise UsageError(f"{index} is damaged ({type(error).__name__}: {error}). Fetch it again.") from error
                missing = sorted({file for file in places.values() if not (self.folder / file).is_file()})
                if missing:
                    raise UsageError(f"{self.folder} lacks {', '.join(missing)}, which its index names. Fetch it again: the usual cause is a copy cut short.")
            elif (self.folder / form).is_file():
                places = {name: form for name in self._load(form).keys()}
            else:
                continue
            return {name: file for name, file in places.items() if not name.endswith(_COMPUTED)}
        raise UsageError(f"{self.folder} holds no weights (no model.safetensors or pytorch_model.bin, nor an index of several).")

    def _load(self, file: str) -> Any:
        """Return an open file of weights; the one before is closed."""
        import torch
        from safetensors import SafetensorError, safe_open

        if self._open[0] != file:
            self._open = ("", None)
            self._stack.close()
            path = self.folder / file
            try:
                if file.endswith(".safetensors"):
                    opened: Any = self._stack.enter_context(safe_open(path, framework="pt"))
                else:
                    opened = torch.load(path, map_location="cpu", weights_only=True)  # a pickle may run code; this reads tensors only
            except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
                raise UsageError(f"{path} cannot be read as weights: {type(error).__name__}: {error}. Fetch it again: the usual cause is a copy cut short.") from error
            self._open = (file, opened)
        return self._open[1]

    def get(self, name: str) -> torch.Tensor:
        """Return a tensor in float32."""
        opened = self._load(self.places[name])
        tensor: torch.Tensor = opened[name] if isinstance(opened, dict) else opened.get_tensor(name)
        return tensor.float()


def add(base: torch.Tensor, difference: torch.Tensor, name: str) -> torch.Tensor:
    """Return base + difference in float16, where the base may lack rows of tokens.

    Args:
        base: Shape: [rows, …], float32.
        difference: Shape: [rows or more, …], float32.

    Raises:
        UsageError: Their shapes do not fit, or a sum is not finite.
    """
    import torch

    more = difference.shape[0] - base.shape[0] if difference.dim() == 2 else 0
    if name.endswith(_ROWS) and more > 0 and base.shape[1:] == difference.shape[1:]:
        base = torch.cat([base, base.mean(dim=0, keepdim=True).expand(more, -1)])
    if base.shape != difference.shape:
        raise UsageError(f"{name}: the base has the shape {list(base.shape)}, the difference {list(difference.shape)}: it belongs to another base.")
    total = (base + difference).half()
    if not torch.isfinite(total).all():
        raise UsageError(f"{name}: sums are not finite in float16: it belongs to another base, or a file is damaged.")
    return total.contiguous()


def recover(base: Path, difference: Path, output: Path, shard: int = _SHARD) -> int:
    """Write the sum of two models' weights, with the configuration and the tokenizer of the difference; return the number of tensors.

    Raises:
        UsageError: A folder is not what it should be, or the output exists.
        VolumeError: The disk is full.
    """
    if output.exists():
        raise UsageError(f"{output} exists already. Move it away to have it built anew.")
    for folder in (base, difference):
        if not (folder / "config.json").is_file():
            raise UsageError(f"{folder} holds no model (no config.json).")
    ours, theirs = Weights(base), Weights(difference)
    for where, names in ((base, theirs.places.keys() - ours.places.keys()), (difference, ours.places.keys() - theirs.places.keys())):
        if names:
            raise UsageError(f"{where} lacks {len(names)} tensors that the other has, first {min(names)}: they do not belong together.")
    output.parent.mkdir(parents=True, exist_ok=True)
    need = sum(path.stat().st_size for path in base.iterdir() if path.name in set(ours.places.values()))
    free = shutil.disk_usage(output.parent).free
    if need > free:
        raise UsageError(f"{output.parent} has {free / 2**30:,.1f} GiB free, and {output.name} takes about {need / 2**30:,.1f}. Free some space.")
    scratch = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        rows = _write_weights(ours, theirs, scratch, shard)
        _write_rest(base, difference, scratch, rows)
        scratch.chmod(0o755)
        scratch.rename(output)
    except OSError as error:
        raise VolumeError(f"{output} could not be written: {error.strerror or error}. Free some space and run this again; nothing was left.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return len(theirs.places)


def _write_weights(ours: Weights, theirs: Weights, folder: Path, shard: int) -> int:
    """Write the sums in files of about ``shard`` bytes, and their index; return the rows of the embeddings."""
    from safetensors.torch import save_file

    held: dict[str, torch.Tensor] = {}
    files: list[list[str]] = []
    total = rows = 0

    def write() -> None:
        save_file(held, str(folder / f"part-{len(files)}"), metadata={"format": "pt"})
        files.append(list(held))
        held.clear()

    for name in _by_file(theirs, ours):
        held[name] = add(ours.get(name), theirs.get(name), name)
        total += held[name].numel() * 2
        rows = held[name].shape[0] if name.endswith(_ROWS[0]) else rows
        if sum(tensor.numel() * 2 for tensor in held.values()) >= shard:
            write()
    if held:
        write()
    places: dict[str, str] = {}
    for number, names in enumerate(files):
        file = f"model-{number + 1:05}-of-{len(files):05}.safetensors"
        (folder / f"part-{number}").rename(folder / file)
        places |= dict.fromkeys(names, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))})
    return rows


def _by_file(theirs: Weights, ours: Weights) -> Iterator[str]:
    """Yield all names so that each file of the difference is opened once, and of the base as seldom as that allows."""
    yield from sorted(theirs.places, key=lambda name: (theirs.places[name], ours.places[name], name))


def _write_rest(base: Path, difference: Path, folder: Path, rows: int) -> None:
    """Copy what stands beside the weights; a fast tokenizer that the difference lacks is the base's, with the tokens that the difference adds."""
    for path in sorted(difference.iterdir()):
        if path.is_file() and not path.name.endswith(_WEIGHTS) and not path.name.startswith("."):
            shutil.copyfile(path, folder / path.name)
    if not (folder / _TOKENIZER).exists() and (base / _TOKENIZER).is_file():
        tokenizer = json.loads((base / _TOKENIZER).read_text(encoding="utf-8"))
        added = difference / "added_tokens.json"
        known = {token["content"] for token in tokenizer.get("added_tokens", [])}
        for content, number in sorted((json.loads(added.read_text(encoding="utf-8")) if added.is_file() else {}).items(), key=lambda item: item[1]):
            if content not in known:
                plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
                tokenizer["added_tokens"].append({"id": number, "content": content, **plain, "special": True})
        write_json(folder / _TOKENIZER, tokenizer)
    config = json.loads((difference / "config.json").read_text(encoding="utf-8"))
    config["torch_dtype"] = "float16"
    if rows:
        config["vocab_size"] = rows
    write_json(folder / "config.json", config)


def main(argv: list[str] | None = None) -> int:
    """Build the model; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m factscoring.recover_model", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", required=True, type=Path, help="folder of the model that the difference belongs to")
    parser.add_argument("--difference", required=True, type=Path, help="folder of the difference, with configuration and tokenizer")
    parser.add_argument("--output", required=True, type=Path, help="folder to write")
    given = parser.parse_args(argv)

    def run() -> int:
        count = recover(given.base, given.difference, given.output)
        print(f"{given.output}: {count} tensors, each the sum of the base's and the difference's, in float16")
        return COMPLETE

    return tell_errors(run)


if __name__ == "__main__":
    raise SystemExit(main())
