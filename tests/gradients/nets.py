"""Layers that meet: shared, tied, folded, called once, hidden in attention, routed, adapted."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.awkward_models import (
    Branching,
    Folded,
    HandMadeLoRA,
    KeywordCalls,
    Positions,
    PositionsFirst,
    Recurrent,
    SharedLinear,
    TiedWeights,
    WeightOutside,
)
from tests.gradients.hugging_face import gpt2, lora_gpt2
from tests.gradients.row import Row, normal, tokens

__all__ = ["NETS"]


class Attention(nn.Module):
    """nn.MultiheadAttention on inputs that are made of one tensor, or of several."""

    def __init__(self, inputs: str = "self", mask: str = "", **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, **options)
        self.inputs, self.mask = inputs, mask

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        ignored = x[..., 0] > 0.5
        ignored[:, 0] = False
        if not self.attention.batch_first:
            x, others = x.transpose(0, 1), tuple(t.transpose(0, 1) for t in others)
        given = {"self": (x, x, x), "cross": (x, *others * 2), "three": (x, *others)}[self.inputs]
        causal = torch.ones(3, 3, dtype=torch.bool, device=x.device).triu(1)
        result = self.attention(
            *given,
            key_padding_mask=ignored if "padding" in self.mask else None,
            attn_mask=causal if "causal" in self.mask else None,
            need_weights="weights" in self.mask,
        )[0]
        return result if self.attention.batch_first else result.transpose(0, 1)


class Layer(nn.Module):
    """One layer of PyTorch's transformer, of the encoder or the decoder."""

    def __init__(self, decoder: bool = False, batch_first: bool = True, first: bool = True) -> None:
        super().__init__()
        kind = nn.TransformerDecoderLayer if decoder else nn.TransformerEncoderLayer
        self.layer = kind(4, 2, 6, batch_first=batch_first, norm_first=first)
        self.batch_first = batch_first

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.batch_first:
            return self.layer(*inputs)
        return self.layer(*(x.transpose(0, 1) for x in inputs)).transpose(0, 1)


class SecondDimension(nn.Module):
    """Linear, LayerNorm and Embedding on (T, n), and the norm of what is folded to (T · n, d)."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.inside = nn.Embedding(5, 4), nn.Linear(4, 3)
        self.norm, self.head = nn.LayerNorm(3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(torch.tanh(self.inside(self.tokens(x.T))))
        return self.head(h.flatten(0, 1)).unflatten(0, h.shape[:2]).transpose(0, 1)


class Bare(nn.Module):
    """Parameters without a layer: a scalar, a row for each position, a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.positions = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(3, 4))
        self.matrix, self.head = nn.Parameter(torch.eye(4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh((x + self.positions) @ self.matrix)) * self.scale


class WeightNorm(nn.Module):
    """A layer whose weight is made of two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.normed(x)))


class Unused(nn.Module):
    """A layer that the result does not depend on, and one that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.lost, self.never = nn.Linear(4, 3), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.lost(x)
        return self.head(x)


class WithoutGradient(nn.Module):
    """A layer whose result is taken as it is, without its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.body(x)
        return self.head(F.relu(h, inplace=True))


ATTENTION = {
    "attention.in_proj_weight": "outer",
    "attention.out_proj.weight": "outer",
}
SEPARATE = {
    "attention.in_proj_bias": "dense",
    "attention.q_proj_weight": "outer",
    "attention.k_proj_weight": "outer",
    "attention.v_proj_weight": "outer",
    "attention.out_proj.weight": "outer",
}
ONE, TWO, THREE = (normal(3, 4),), (normal(3, 4), normal(3, 4)), (normal(3, 4),) * 3


def attention() -> dict[str, Row]:
    """Attention with every kind of input, mask and layout."""
    rows = {}
    for batch_first in (True, False):
        for inputs, draws in (("self", ONE), ("cross", TWO), ("three", THREE)):
            for mask in ("", "padding, causal", "weights"):
                make = lambda i=inputs, m=mask, b=batch_first: Attention(i, m, batch_first=b)  # noqa: E731
                name = f"attention, {inputs}, {mask or 'no mask'}"
                rows[f"{name}{'' if batch_first else ', positions first'}"] = Row(
                    make, draws, ATTENTION
                )
    wide = (normal(3, 4), normal(3, 5), normal(3, 6))
    options = {"batch_first": True, "kdim": 5, "vdim": 6}
    rows["attention, kdim and vdim"] = Row(lambda: Attention("three", **options), wide, SEPARATE)
    rows["attention without bias"] = Row(
        lambda: Attention(batch_first=True, bias=False), ONE, ATTENTION
    )
    unknown = tuple(f"attention.{name}" for name in (
        "in_proj_weight", "in_proj_bias", "bias_k", "bias_v", "out_proj.weight", "out_proj.bias",
    ))  # fmt: skip
    rows["attention with bias_k"] = Row(
        lambda: Attention(batch_first=True, add_bias_kv=True),
        ONE,
        {"attention.in_proj_weight": "dense", "attention.out_proj.weight": "dense"},
        unknown,
    )
    return rows


ENCODER = {
    "layer.self_attn.in_proj_weight": "outer",
    "layer.self_attn.out_proj.weight": "outer",
    "layer.linear1.weight": "outer",
    "layer.linear2.weight": "outer",
    "layer.norm1.weight": "dense",
    "layer.norm2.weight": "dense",
}
DECODER = {
    **ENCODER,
    "layer.multihead_attn.in_proj_weight": "outer",
    "layer.multihead_attn.out_proj.weight": "outer",
    "layer.norm3.weight": "dense",
}
HEADS = {"head.weight": "outer"}
TIED = {"tokens.weight": "sum", "mix.weight": "outer", "out.bias": "dense"}
TIED_FIRST = {"out.weight": "sum", "out.bias": "dense", "mix.weight": "outer"}
BARE = ("scale", "positions", "matrix")
GPT2 = {
    f"model.transformer.h.0.{name}.weight": kind
    for name, kind in {
        "ln_1": "dense", "attn.c_attn": "outer", "attn.c_proj": "outer", "ln_2": "dense",
        "mlp.c_fc": "outer", "mlp.c_proj": "outer",
    }.items()
}  # fmt: skip
LORA = "model.base_model.model.transformer.h.0"

NETS: dict[str, Row] = {
    **attention(),
    "encoder layer": Row(Layer, ONE, ENCODER),
    "encoder layer, norm last": Row(lambda: Layer(first=False), ONE, ENCODER),
    "encoder layer, positions first": Row(lambda: Layer(batch_first=False), ONE, ENCODER),
    "decoder layer": Row(lambda: Layer(decoder=True), TWO, DECODER),
    "shared linear": Row(SharedLinear, ONE, {"shared.weight": "outer", **HEADS}),
    "tied weights": Row(TiedWeights, (tokens(6, 4),), TIED),
    "tied weights, linear first": Row(
        lambda: TiedWeights(linear_first=True), (tokens(6, 4),), TIED_FIRST
    ),
    "weight outside": Row(
        WeightOutside, (normal(5),), {"used.weight": "dense", **HEADS}, ("used.weight", "used.bias")
    ),
    "bare parameters": Row(Bare, ONE, {"scale": "dense", **HEADS}, BARE),
    "positions first": Row(PositionsFirst, ONE, {"inside.weight": "outer", **HEADS}),
    "second dimension": Row(
        SecondDimension,
        (tokens(5, 3),),
        {"tokens.weight": "rows", "inside.weight": "outer", "norm.weight": "dense", **HEADS},
    ),
    "folded": Row(
        Folded,
        (normal(3, 2, 5, 5),),
        {"conv.weight": "outer", "norm.weight": "dense", **HEADS},
    ),
    "keyword calls": Row(
        KeywordCalls, (tokens(5, 3),), {"tokens.weight": "rows", "body.weight": "outer", **HEADS}
    ),
    "positions called once": Row(
        Positions,
        (tokens(5, 3),),
        {"tokens.weight": "rows", "positions.weight": "rows", "mix.weight": "outer", **HEADS},
    ),
    "positions called once, flat": Row(
        lambda: Positions(flat=True),
        (tokens(5, 4),),
        {"tokens.weight": "rows", "positions.weight": "rows", "mix.weight": "outer", **HEADS},
    ),
    "positions called once, as many as there are samples": Row(
        lambda: Positions(flat=True),
        (tokens(5, 3),),
        {"tokens.weight": "rows", "positions.weight": "rows", "mix.weight": "outer", **HEADS},
    ),
    "GRU": Row(
        lambda: Recurrent(nn.GRU), ONE, {"cell.weight_ih_l0": "dense", **HEADS},
        ("cell.weight_ih_l0", "cell.weight_hh_l0", "cell.bias_ih_l0", "cell.bias_hh_l0"),
    ),
    "LSTM": Row(
        lambda: Recurrent(nn.LSTM), ONE, {"cell.weight_ih_l0": "dense", **HEADS},
        ("cell.weight_ih_l0", "cell.weight_hh_l0", "cell.bias_ih_l0", "cell.bias_hh_l0"),
    ),
    "branches that depend on data": Row(Branching, (normal(4),), {"body.weight": "outer", **HEADS}),
    "weight norm": Row(
        WeightNorm, (normal(4),),
        {
            "normed.bias": "dense",
            "normed.parametrizations.weight.original0": "dense",
            **HEADS,
        },
        tuple(f"normed.parametrizations.weight.original{k}" for k in (0, 1)),
    ),
    "unused layers": Row(
        Unused, (normal(4),), {**HEADS, "lost.weight": "dense", "never.weight": "dense"}
    ),
    "without gradient": Row(
        WithoutGradient, (normal(4),), {"body.weight": "dense", **HEADS}
    ),
    "LoRA by hand": Row(
        HandMadeLoRA, (normal(3, 5),), {"down.weight": "outer", "up.weight": "outer"}
    ),
    "GPT-2": Row(
        gpt2,
        (tokens(11, 5),),
        {
            "model.transformer.wte.weight": "sum", "model.transformer.wpe.weight": "rows",
            **GPT2, "model.transformer.ln_f.weight": "dense",
        },
        empty=False,
    ),
    "GPT-2 with LoRA": Row(
        lora_gpt2,
        (tokens(11, 5),),
        {
            f"{LORA}.{layer}.lora_{side}.default.weight": "outer"
            for layer in ("attn.c_attn", "mlp.c_fc")
            for side in "AB"
        },
        empty=False,
    ),
}  # fmt: skip
"""All of them, by name."""
