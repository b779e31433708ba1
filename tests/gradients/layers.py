"""The rules' layers with every option, one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.gradients.row import Row, normal, tokens

__all__ = ["LAYERS"]

OUTER, ROWS, DENSE = {"weight": "outer"}, {"weight": "rows"}, {"weight": "dense"}
APART = {"weight": "outer", "bias": "dense"}
BOTH = ("weight", "bias")


def frozen(layer: nn.Module, name: str) -> nn.Module:
    """Return a layer with one parameter that is not trained."""
    layer.get_parameter(name).requires_grad_(False)
    return layer


class Embedded(nn.Module):
    """A bag of which each word counts as much as the batch says."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(7, 3, mode="sum")

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return self.bag(x, per_sample_weights=weights)


SIZES = {1: (7,), 2: (6, 5), 3: (4, 3, 5)}


def convolutions(spatial: int) -> dict[str, Row]:
    """Convolutions of one kind, options one by one and together."""
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[spatial]
    inputs = (normal(4, *SIZES[spatial]),)
    plain: dict[str, dict[str, Any]] = {
        "": {},
        "without bias": {"bias": False},
        "stride": {"stride": 2},
        "padding": {"padding": 1},
        "same": {"padding": "same"},
        "same, even kernel": {"padding": "same", "kernel_size": 2},
        "same, even kernel, dilation": {"padding": "same", "kernel_size": 2, "dilation": 3},
        "valid": {"padding": "valid"},
        "reflect": {"padding": 1, "padding_mode": "reflect"},
        "replicate": {"padding": 1, "padding_mode": "replicate"},
        "circular": {"padding": 1, "padding_mode": "circular"},
        "circular, same, even kernel": {
            "padding": "same", "padding_mode": "circular", "kernel_size": 2,
        },
        "dilation": {"dilation": 2, "kernel_size": 2},
        "stride, padding, dilation": {"stride": 2, "padding": 2, "dilation": 2, "kernel_size": 2},
        "kernel of one": {"kernel_size": 1},
    }  # fmt: skip
    if spatial > 1:
        plain["sides that differ"] = {
            "kernel_size": (3, 2, 1)[:spatial],
            "stride": (1, 2, 2)[:spatial],
            "padding": (0, 1, 2)[:spatial],
        }
    grouped: dict[str, dict[str, Any]] = {
        "groups": {"groups": 2},
        "groups, stride, without bias": {"groups": 2, "stride": 2, "bias": False},
        "depthwise": {"groups": 4, "padding": 1},
    }
    rows = {}
    for options, terms in ((plain, OUTER), (grouped, DENSE)):
        for name, given in options.items():
            make = lambda given=given: kind(4, 4, **{"kernel_size": 3, **given})  # noqa: E731
            rows[f"{kind.__name__} {name}".strip()] = Row(make, inputs, terms)
    for name in BOTH:
        wanted = {"bias": "dense"} if name == "weight" else OUTER
        make = lambda name=name: frozen(kind(4, 2, 2), name)  # noqa: E731
        rows[f"{kind.__name__}, frozen {name}"] = Row(make, inputs, wanted)
    return rows


def transposed(spatial: int) -> dict[str, Row]:
    """Transposed convolutions of one kind."""
    kind = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[spatial]
    inputs = (normal(4, *(2, 3, 2)[:spatial]),)
    options: dict[str, dict[str, Any]] = {
        "": {},
        "stride": {"stride": 2},
        "stride, output padding": {"stride": 3, "output_padding": 2},
        "padding": {"padding": 1},
        "stride, padding, output padding": {"stride": 2, "padding": 2, "output_padding": 1},
        "dilation": {"dilation": 2},
        "groups": {"groups": 2, "stride": 2},
        "depthwise, without bias": {"groups": 4, "bias": False},
    }
    rows = {}
    for name, given in options.items():
        make: Callable[[], nn.Module] = lambda given=given: kind(4, 4, 3, **given)  # noqa: E731
        wanted = dict(APART)
        if "groups" in given:
            wanted["weight"] = "dense"
        if not given.get("bias", True):
            del wanted["bias"]
        rows[f"{kind.__name__} {name}".strip()] = Row(make, inputs, wanted)
    return rows


def norms() -> dict[str, Row]:
    """Norms, in evaluation mode."""
    made: dict[str, tuple[Callable[[], nn.Module], Any, bool]] = {
        "LayerNorm": (lambda: nn.LayerNorm(4), normal(4), True),
        "LayerNorm on (n, T, d)": (lambda: nn.LayerNorm(4, eps=0.1), normal(3, 4), True),
        "LayerNorm on (n, S, T, d)": (lambda: nn.LayerNorm(4), normal(2, 3, 4), True),
        "LayerNorm without bias": (lambda: nn.LayerNorm(4, bias=False), normal(3, 4), True),
        "LayerNorm, frozen weight": (lambda: frozen(nn.LayerNorm(4), "weight"), normal(4), True),
        "LayerNorm, frozen bias": (lambda: frozen(nn.LayerNorm(4), "bias"), normal(3, 4), True),
        "LayerNorm of two dimensions": (lambda: nn.LayerNorm((3, 4)), normal(3, 4), False),
        "RMSNorm": (lambda: nn.RMSNorm(4), normal(3, 4), True),
        "RMSNorm with eps": (lambda: nn.RMSNorm(4, eps=0.1), normal(4), True),
        "RMSNorm of two dimensions": (lambda: nn.RMSNorm((3, 4)), normal(3, 4), False),
        "GroupNorm": (lambda: nn.GroupNorm(2, 4), normal(4, 3, 2), True),
        "GroupNorm on (n, C)": (lambda: nn.GroupNorm(2, 4, eps=0.1), normal(4), True),
        "GroupNorm, frozen weight": (
            lambda: frozen(nn.GroupNorm(2, 4), "weight"), normal(4, 3), True,
        ),
        "BatchNorm1d on (n, C)": (lambda: nn.BatchNorm1d(4), normal(4), True),
        "BatchNorm1d on (n, C, L)": (lambda: nn.BatchNorm1d(4, eps=0.1), normal(4, 3), True),
        "BatchNorm2d": (lambda: nn.BatchNorm2d(4), normal(4, 3, 2), True),
        "BatchNorm2d, frozen bias": (
            lambda: frozen(nn.BatchNorm2d(4), "bias"), normal(4, 3, 2), True,
        ),
        "BatchNorm3d": (lambda: nn.BatchNorm3d(4), normal(4, 3, 2, 2), True),
    }  # fmt: skip
    rows = {}
    for name, (make, draw, served) in made.items():
        trained = tuple(key for key, p in make().named_parameters() if p.requires_grad)
        rows[name] = Row(make, (draw,), {trained[0]: "dense"}, () if served else trained)
    return rows


LINEAR = {
    "Linear": Row(lambda: nn.Linear(5, 3), (normal(5),), OUTER),
    "Linear without bias": Row(lambda: nn.Linear(5, 3, bias=False), (normal(5),), OUTER),
    "Linear, frozen weight": Row(
        lambda: frozen(nn.Linear(5, 3), "weight"), (normal(5),), {"bias": "dense"}
    ),
    "Linear, frozen bias": Row(lambda: frozen(nn.Linear(5, 3), "bias"), (normal(5),), OUTER),
    "Linear on (n, T, d)": Row(lambda: nn.Linear(5, 3), (normal(4, 5),), OUTER),
    "Linear on (n, S, T, d)": Row(lambda: nn.Linear(5, 3), (normal(2, 3, 5),), OUTER),
    "Linear on one number": Row(lambda: nn.Linear(1, 1), (normal(1),), OUTER),
}
EMBEDDINGS = {
    "Embedding": Row(lambda: nn.Embedding(7, 3), (tokens(7, 4),), ROWS),
    "Embedding of one token": Row(lambda: nn.Embedding(7, 3), (tokens(7),), ROWS),
    "Embedding of int32": Row(
        lambda: nn.Embedding(7, 3), (lambda n, g: tokens(7, 4)(n, g).int(),), ROWS
    ),
    "Embedding with padding": Row(
        lambda: nn.Embedding(3, 2, padding_idx=0), (tokens(3, 5),), ROWS
    ),
    "Embedding with padding from the end": Row(
        lambda: nn.Embedding(3, 2, padding_idx=-1), (tokens(3, 5),), ROWS
    ),
    "Embedding, max_norm": Row(
        lambda: nn.Embedding(7, 3, max_norm=0.5), (tokens(7, 4),), DENSE, ("weight",)
    ),
    "Embedding, scale_grad_by_freq": Row(
        lambda: nn.Embedding(4, 3, scale_grad_by_freq=True), (tokens(4, 6),), DENSE, ("weight",)
    ),
    "Embedding, sparse": Row(lambda: nn.Embedding(7, 3, sparse=True), (tokens(7, 4),), ROWS),
    "EmbeddingBag": Row(lambda: nn.EmbeddingBag(7, 3), (tokens(7, 4),), ROWS),
    "EmbeddingBag, sum": Row(lambda: nn.EmbeddingBag(7, 3, mode="sum"), (tokens(7, 4),), ROWS),
    "EmbeddingBag, mean with padding": Row(
        lambda: nn.EmbeddingBag(3, 2, padding_idx=1), (tokens(3, 5),), ROWS
    ),
    "EmbeddingBag, sum with padding": Row(
        lambda: nn.EmbeddingBag(3, 2, mode="sum", padding_idx=1), (tokens(3, 5),), ROWS
    ),
    "EmbeddingBag, max": Row(
        lambda: nn.EmbeddingBag(7, 3, mode="max"), (tokens(7, 4),), DENSE, ("weight",)
    ),
    "EmbeddingBag with weights": Row(
        Embedded, (tokens(7, 4), normal(4)), {"bag.weight": "dense"}, ("bag.weight",)
    ),
    "EmbeddingBag with weights that are one at first": Row(
        Embedded,
        (tokens(7, 4), lambda n, g: (torch.arange(n) < 2)[:, None].double().expand(n, 4)),
        {"bag.weight": "dense"},
        ("bag.weight",),
    ),
}  # fmt: skip

LAYERS: dict[str, Row] = {
    **LINEAR,
    **{name: row for spatial in SIZES for name, row in convolutions(spatial).items()},
    **{name: row for spatial in SIZES for name, row in transposed(spatial).items()},
    **EMBEDDINGS,
    **norms(),
}
"""All of them, by name."""
