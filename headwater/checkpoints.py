"""Checkpoints: state dicts, files and callables that load one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

Checkpoint = Mapping[str, Tensor] | str | Path | Callable[[], Mapping[str, Tensor]]


def load_checkpoint(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """Load a state dict and check that its keys and shapes are those of the model.

    Files that end in ``.safetensors`` are read with safetensors, all others with
    ``torch.load(weights_only=True)``: no code in a file is ever run.

    Raises:
        FileNotFoundError: if the path does not exist.
        TypeError: if it is none of these kinds.
        ValueError: if keys or shapes differ from the model's.
    """
    state = _read(checkpoint)
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
    return dict(state)


def _read(checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    if isinstance(checkpoint, (str, Path)):
        path = Path(checkpoint)
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint {str(path)!r} must be a file, found none there")
        if path.suffix == ".safetensors":
            return load_file(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    elif callable(checkpoint):
        checkpoint = checkpoint()
    if not isinstance(checkpoint, Mapping):
        raise TypeError(
            "a checkpoint must be a state dict, a path or a callable that returns a state dict, "
            f"got {type(checkpoint).__name__}; pass model.state_dict()"
        )
    return checkpoint
