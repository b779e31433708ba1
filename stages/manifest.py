"""Which retrained models there are: seeds, subsets, recipe, and hashes of the files."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.benchmark.settings import get_setting
from stages.problem import file_hash

__all__ = ["Model", "manifest_of", "with_states"]


@dataclass(frozen=True)
class Model:
    """A retrained model: its seed, and the samples it sees, bool (n_train,)."""

    seed: int
    subset: NDArray[np.bool_]

    @property
    def digest(self) -> str:
        """16 hex digits that identify the subset: of the sha256 of its size and bits."""
        content = f"{len(self.subset)} ".encode() + np.packbits(self.subset).tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    @property
    def key(self) -> str:
        """What identifies the model beside its setting and data."""
        return f"{self.seed}-{self.digest}"


def manifest_of(setting: str, train: Path, models: Sequence[Model]) -> dict[str, Any]:
    """Return what says which models there are, how they are trained, and on what.

    Args:
        setting: a name or an import path.
        train: the file of the training samples.
        models: in the order of the arrays of their outputs.
    """
    listed = [{"seed": m.seed, "subset": m.digest} for m in models]
    recipe = _said(get_setting(setting).recipe)
    return {"setting": setting, "recipe": recipe, "train": file_hash(train), "models": listed}


def with_states(manifest: dict[str, Any], states: Sequence[Path]) -> dict[str, Any]:
    """Return a manifest with the file of each model's parameters, and its hash."""
    models = [
        {**model, "file": path.name, "sha256": file_hash(path)}
        for model, path in zip(manifest["models"], states, strict=True)
    ]
    return {**manifest, "models": models}


def _said(value: Any) -> Any:
    """Return a recipe as plain values; functions and classes by name."""
    if isinstance(value, partial):
        return {"kind": _said(value.func), **{k: _said(v) for k, v in value.keywords.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _said(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__qualname__, **fields}
    if isinstance(value, list | tuple):
        return [_said(v) for v in value]
    if isinstance(value, bool | int | float | str | None):
        return value
    name = getattr(value, "__qualname__", None)
    return str(value) if str(value).startswith("torch.") else name or type(value).__qualname__
