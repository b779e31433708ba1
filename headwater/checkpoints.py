"""Checkpoints: state dicts, files, folders of Hugging Face's Trainer, and callables that load one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

Checkpoint = Mapping[str, Tensor] | str | Path | Callable[[], Mapping[str, Tensor]]
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
"""What a folder holds: one file, the index of several, or an adapter of PEFT alone."""


def load_checkpoint(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """Load a state dict and check that its keys and shapes are those of the model.

    Files that end in ``.safetensors`` are read with safetensors, all others with
    ``torch.load(weights_only=True)``: no code in a file is ever run. A folder holds
    ``model.safetensors``, or its shards with an index, as Hugging Face's Trainer writes them,
    or ``adapter_model.safetensors`` of PEFT: all else is as in the model. Of tied weights one name is
    enough. FileNotFoundError if there is no such file; TypeError if it is none of
    these kinds; ValueError if keys or shapes differ from the model's.
    """
    state = _with_tied_names(_read(checkpoint, model), model)
    expected = model.state_dict()
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    if missing or unexpected:
        raise ValueError(
            "a checkpoint must have the model's state_dict keys, got "
            f"missing {missing[:3]}, unexpected {unexpected[:3]}; "
            "pass the state_dict of this architecture"
        )
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"checkpoint entry {name!r} must have shape {tuple(tensor.shape)}, "
                f"got {tuple(state[name].shape)}"
            )
    return state


def _with_tied_names(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    names = {name: id(t) for name, t in model.state_dict(keep_vars=True).items()}
    # Of several names that are known the first counts.
    known = {names[name]: state[name] for name in reversed(names) if name in state}
    return {name: known[key] for name, key in names.items() if key in known} | dict(state)


def _read(checkpoint: Checkpoint, model: nn.Module) -> Mapping[str, Tensor]:
    if isinstance(checkpoint, (str, Path)):
        checkpoint = _read_path(Path(checkpoint), model)
    elif callable(checkpoint):
        checkpoint = checkpoint()
    if not isinstance(checkpoint, Mapping):
        raise TypeError(
            "a checkpoint must be a state dict, a path or a callable that returns a state dict, "
            f"got {type(checkpoint).__name__}; pass model.state_dict()"
        )
    return checkpoint


def _read_path(path: Path, model: nn.Module) -> Mapping[str, Tensor]:
    if path.is_dir():
        return _read_folder(path, model)
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint {str(path)!r} must be a file or a folder, found none there"
        )
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_folder(folder: Path, model: nn.Module) -> dict[str, Tensor]:
    if (folder / WHOLE).is_file():
        return load_file(folder / WHOLE)
    if (folder / ADAPTER).is_file():
        return _with_adapter(load_file(folder / ADAPTER), model)
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(
            f"checkpoint folder {str(folder)!r} must hold {WHOLE}, {INDEX} or {ADAPTER}, "
            f"found {sorted(file.name for file in folder.iterdir())[:5]}; name the file itself"
        )
    shards = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    state: dict[str, Tensor] = {}
    for shard in sorted(set(shards)):
        if not (folder / shard).is_file():
            raise FileNotFoundError(
                f"checkpoint folder {str(folder)!r} must hold the shard {shard!r} that its index "
                "names, found none; copy it there"
            )
        state |= load_file(folder / shard)
    return state


def _with_adapter(adapter: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state with an adapter's: files leave out what the adapter is called."""
    state = model.state_dict()
    for key in state:
        *modules, _, last = ["", *key.split(".")]  # the model may be a part of another
        name = ".".join([*(m for m in modules if m != "modules_to_save"), last])
        if found := next((given for given in adapter if name.endswith(f".{given}")), None):
            state[key] = adapter.pop(found)
    return {**state, **adapter}  # what is left of the adapter is refused as unexpected
