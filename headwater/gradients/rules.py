"""The table of rules: how a layer's output gradient becomes the gradient of its parameters.

A new kind of layer is one function and one line in `RULES`; modules without a rule get the exact
gradient by differentiating each sample on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.attention import Projection
from headwater.gradients.convolution import (
    convolution,
    formed_convolution,
    transposed_convolution,
)
from headwater.gradients.outer import Outer
from headwater.gradients.rows import Rows
from headwater.gradients.term import Dense, Term

Gradient = Callable[[nn.Module, Tensor, Tensor, bool], Term]
"""(module, input (n, P, ...), output gradient (n, P, ...), with bias) to the weight's term."""


@dataclass(frozen=True)
class Rule:
    """How the gradients of one kind of layer are made.

    Inputs and output gradients are (n, P, ...): n samples, P places of a sample at which the layer
    works (tokens, or calls), and the dimensions that belong to one place.

    Args:
        gradient: the term of the weight, or of weight and bias together.
        inputs: how many dimensions of an input belong to one place; -1: all but the first.
        outputs: the same of an output.
        joint: whether the term of the weight can hold the bias as well.
        arguments: tensors that the layer may be called with; what the others do is not known.
        fits: whether the rule is for a module with these options.
        prepare: what is kept of the input, computed while the module is called.
        formed: makes the same term formed, or returns None where factors are smaller.
    """

    gradient: Gradient
    inputs: int
    outputs: int
    joint: bool = True
    arguments: int = 1
    fits: Callable[[nn.Module], bool] = lambda module: True
    prepare: Callable[[nn.Module, Tensor], Tensor] = lambda module, x: x
    formed: Callable[[nn.Module, Tensor, Tensor, bool], Dense | None] | None = None


def linear(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer:
    """Σ_t e_t x_tᵀ of y = W x + b."""
    return Outer(x, e, bias)


def conv1d_of_transformers(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer:
    """Σ_t e_t x_tᵀ of y = Wᵀ x + b: Hugging Face's GPT-2 stores (d_in, d_out)."""
    return Outer(x, e, bias, transposed=True)


def embedding(module: Any, x: Tensor, e: Tensor, bias: bool) -> Rows:
    """Row x_t of the table gets e_t; the row that pads gets nothing."""
    if module.padding_idx is not None:
        e = e.masked_fill((x == module.padding_idx)[..., None], 0.0)
    return Rows(x.long(), e, module.num_embeddings)


def embedding_bag(module: Any, x: Tensor, e: Tensor, bias: bool) -> Rows:
    """Each row that a bag x (n, P, B) looks up gets the bag's e, for a mean its share of it."""
    counts = torch.ones_like(x, dtype=e.dtype)
    if module.padding_idx is not None:
        counts = counts.masked_fill(x == module.padding_idx, 0.0)
    if module.mode == "mean":
        counts = counts / counts.sum(2, keepdim=True).clamp_min(1)
    rows = e[:, :, None] * counts[..., None]
    return Rows(x.flatten(1).long(), rows.flatten(1, 2), module.num_embeddings)


def scale(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Dense:
    """Σ_t e_t ∘ x̂_t of y = w ∘ x̂ + b, with the bias's Σ_t e_t; one weight serves a channel."""
    parts = [e * x, e] if bias else [e * x]
    return Dense(torch.cat([per_channel(part) for part in parts], 1))


def per_channel(e: Tensor) -> Tensor:
    """Return the sums over all positions of e (n, P, C, ...), (n, C)."""
    return e.flatten(3).sum((1, 3)) if e.ndim > 3 else e.sum(1)


def _layer_normed(module: Any, x: Tensor) -> Tensor:
    return F.layer_norm(x, module.normalized_shape, eps=module.eps)


def _rms_normed(module: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, module.normalized_shape, eps=module.eps)


def _group_normed(module: Any, x: Tensor) -> Tensor:
    return F.group_norm(x, module.num_groups, eps=module.eps)


def _batch_normed(module: Any, x: Tensor) -> Tensor:
    return F.batch_norm(x, module.running_mean, module.running_var, eps=module.eps)


def _fixed_statistics(module: Any) -> bool:
    return module.running_mean is not None and not module.training


def _last_only(module: Any) -> bool:
    return len(module.normalized_shape) == 1


def _plain_embedding(module: Any) -> bool:
    return module.max_norm is None and not module.scale_grad_by_freq


def _plain_bag(module: Any) -> bool:
    return _plain_embedding(module) and module.mode != "max" and not module.include_last_offset


_BATCH_NORM = Rule(scale, -1, -1, fits=_fixed_statistics, prepare=_batch_normed)

RULES: dict[type[nn.Module] | str, Rule] = {
    nn.Linear: Rule(linear, 1, 1),
    Projection: Rule(linear, 1, 1, arguments=3),
    "transformers.pytorch_utils.Conv1D": Rule(conv1d_of_transformers, 1, 1),
    nn.Conv1d: Rule(convolution, 2, 2, formed=formed_convolution),
    nn.Conv2d: Rule(convolution, 3, 3, formed=formed_convolution),
    nn.Conv3d: Rule(convolution, 4, 4, formed=formed_convolution),
    nn.ConvTranspose1d: Rule(transposed_convolution, 2, 2, joint=False),
    nn.ConvTranspose2d: Rule(transposed_convolution, 3, 3, joint=False),
    nn.ConvTranspose3d: Rule(transposed_convolution, 4, 4, joint=False),
    nn.Embedding: Rule(embedding, 0, 1, fits=_plain_embedding),
    nn.EmbeddingBag: Rule(embedding_bag, 1, 1, fits=_plain_bag),
    nn.LayerNorm: Rule(scale, 1, 1, fits=_last_only, prepare=_layer_normed),
    nn.RMSNorm: Rule(scale, 1, 1, fits=_last_only, prepare=_rms_normed),
    nn.GroupNorm: Rule(scale, -1, -1, prepare=_group_normed),
    nn.BatchNorm1d: _BATCH_NORM,
    nn.BatchNorm2d: _BATCH_NORM,
    nn.BatchNorm3d: _BATCH_NORM,
}
"""By type, subclasses included, or by full name where the package need not be there."""


def rule_of(module: nn.Module) -> Rule | None:
    """Return the rule of a module, that of its nearest base class; None: there is none."""
    for kind in type(module).__mro__:
        rule = RULES.get(kind) or RULES.get(f"{kind.__module__}.{kind.__qualname__}")
        if rule is not None:
            return rule if rule.fits(module) else None
    return None
