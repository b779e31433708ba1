"""The format of a gradient store: what its folder holds, and the checks of its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import torch
from torch import Tensor

from headwater.gradients.forms import empty
from headwater.gradients.gradients import Gradients, Scheme
from headwater.parameters import ParameterLayout

__all__ = [
    "BLOCK_BYTES",
    "DTYPES",
    "FORMAT",
    "StoreDescription",
    "check_same",
    "checksum",
    "chunk",
    "dtype_on_disk",
    "from_json",
    "to_json",
]

FORMAT = 2
BLOCK_BYTES = 32 * 2**20
DTYPES = ("float32", "float16", "float64")


@dataclass(frozen=True)
class StoreDescription:
    """What a store holds; a reader that expects something else is refused.

    Args:
        setting: the setting (or any name of the problem).
        split: ``train`` or ``test``.
        function: the function differentiated, ``loss`` or a target's name.
        checkpoint: a hash of the checkpoint's bytes.
        representation: ``factored``, ``dense`` or ``projected``.
        dtype: ``float32``, ``float16`` or ``float64``, of the gradients (values keep float64).
        projection: kind, dimension and seed, empty if not projected.
    """

    setting: str
    split: str
    function: str
    checkpoint: str
    representation: str = "factored"
    dtype: str = "float32"
    projection: str = ""


def chunk(path: Path, name: str, b: int, array: Any) -> np.ndarray:
    """Map the file of one block: an uncompressed chunk is the raw little-endian block."""
    parts = "/".join(["c", str(b), *["0"] * (array.ndim - 1)])
    return np.memmap(path / name / parts, array.dtype, "c", shape=array.chunks)


def checksum(data: np.ndarray) -> int:
    """Return the CRC32C of an array's bytes."""
    # A read-only view is taken as it is; anything writable would have to be copied.
    view = np.ascontiguousarray(data).view()
    view.flags.writeable = False
    return int(google_crc32c.value(view))


def check_same(head: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    """Raise ValueError unless a store holds what is expected."""
    for field, wanted in expected.items():
        if head.get(field) != wanted:
            raise ValueError(
                f"{path} must hold {field} {wanted!r}, got {head.get(field)!r}; "
                "use another folder or delete this one"
            )


def dtype_on_disk(name: str, tensor: Tensor, wanted: str) -> str:
    """Return the dtype that a tensor is stored in: values keep their digits, row numbers are whole."""
    if not tensor.is_floating_point():
        return "int32"
    return "float64" if name == "values" else wanted


def to_json(gradients: Gradients) -> dict[str, Any]:
    """Return all that is known of gradients but their tensors."""
    scheme = gradients.scheme
    return {
        "layout": [[name, list(shape)] for name, shape in scheme.layout.shapes],
        "groups": [list(group) for group in scheme.groups],
        "forms": [term.form() for term in gradients.terms],
    }


def from_json(head: dict[str, Any]) -> Gradients:
    """Return gradients of no samples, whose `with_tensors` makes those of a store."""
    layout = ParameterLayout(tuple((name, tuple(shape)) for name, shape in head["layout"]))
    scheme = Scheme(layout, tuple(tuple(group) for group in head["groups"]))
    return Gradients(scheme, [empty(form) for form in head["forms"]], torch.zeros(0))
