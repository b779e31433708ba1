"""Gradients as JSON and named tensors, the forms that stores and the states of a workflow have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from headwater.gradients.forms import empty
from headwater.gradients.gradients import Gradients, Scheme
from headwater.parameters import ParameterLayout


def to_json(gradients: Gradients) -> dict[str, Any]:
    """Return all that is known of gradients but their tensors."""
    scheme = gradients.scheme
    return {
        "layout": [[name, list(shape)] for name, shape in scheme.layout.shapes],
        "groups": [list(group) for group in scheme.groups],
        "forms": [term.form() for term in gradients.terms],
    }


def from_json(head: dict[str, Any]) -> Gradients:
    """Return gradients of no samples, whose `with_tensors` makes those that `to_json` was given."""
    layout = ParameterLayout(tuple((name, tuple(shape)) for name, shape in head["layout"]))
    scheme = Scheme(layout, tuple(tuple(group) for group in head["groups"]))
    return Gradients(scheme, [empty(form) for form in head["forms"]], torch.zeros(0))


def packed(gradients: Gradients, name: str) -> dict[str, Tensor]:
    """Return gradients as ``<name>.<tensor>``, and what the tensors mean as bytes in ``<name>``."""
    head = torch.frombuffer(bytearray(json.dumps(to_json(gradients)).encode()), dtype=torch.uint8)
    tensors = gradients.tensors().items()
    return {name: head} | {f"{name}.{part}": t.contiguous() for part, t in tensors}


def unpacked(tensors: Mapping[str, Tensor], name: str) -> Gradients:
    """Return the gradients that were packed under a name."""
    like = from_json(json.loads(bytes(tensors[name].tolist())))
    return like.with_tensors({part: tensors[f"{name}.{part}"] for part in like.tensors()})
