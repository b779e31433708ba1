"""Gradients as named tensors only, the form that a state of a workflow has."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from headwater.gradients.gradients import Gradients
from headwater.gradients.store_format import from_json, to_json

__all__ = ["packed", "unpacked"]


def packed(gradients: Gradients, name: str) -> dict[str, Tensor]:
    """Return gradients as ``<name>.<tensor>``, and what the tensors mean as bytes in ``<name>``.

    Example:
        >>> g = Gradients.of_vectors(torch.eye(2))
        >>> unpacked(packed(g, "test"), "test").dense().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    head = torch.frombuffer(bytearray(json.dumps(to_json(gradients)).encode()), dtype=torch.uint8)
    return {name: head} | {
        f"{name}.{part}": t.contiguous() for part, t in gradients.tensors().items()
    }


def unpacked(tensors: Mapping[str, Tensor], name: str) -> Gradients:
    """Return the gradients that were packed under a name."""
    like = from_json(json.loads(bytes(tensors[name].tolist())))
    return like.with_tensors({part: tensors[f"{name}.{part}"] for part in like.tensors()})
