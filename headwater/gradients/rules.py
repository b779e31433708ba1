"""The table of rules: how a layer's output gradient becomes the gradient of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight
from torch.nn.modules.conv import _ConvNd

from headwater.attention import Projection
from headwater.gradients.matrix import Matrix
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
    fits: Callable[[Any], bool] = lambda module: True
    prepare: Callable[[nn.Module, Tensor], Tensor] = lambda module, x: x
    formed: Callable[[nn.Module, Tensor, Tensor, bool], Dense | None] | None = None


def linear(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer:
    """Σ_t e_t x_tᵀ of y = W x + b."""
    return Outer(x, e, bias)


def conv1d_of_transformers(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer:
    """Σ_t e_t x_tᵀ of y = Wᵀ x + b: Hugging Face's GPT-2 stores (d_in, d_out)."""
    return Outer(x, e, bias, transposed=True)


_WEIGHT_GRADIENTS = {1: conv1d_weight, 2: conv2d_weight, 3: conv3d_weight}


def convolution(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer | Dense:
    """Σ_l e_l a_lᵀ over all places l, a_l the input that the kernel sees there."""
    assert isinstance(module, _ConvNd)
    a = _windows(module, _padded(module, x.flatten(0, 1)), x.shape[:2])
    return _term(module, a, e.flatten(3).mT.flatten(1, 2), bias)


def formed_convolution(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Dense | None:
    """The same, formed, each sample a group of one convolution; None where factors are smaller."""
    assert isinstance(module, _ConvNd)
    (n, places), (d_out, d_in) = x.shape[:2], module.weight.shape[:2]
    width = module.weight.numel() // d_out
    positions = places * e.shape[3:].numel()
    if n == 0 or (module.groups == 1 and positions * (width + d_out) < width * d_out):
        return None
    padding = module.padding
    if isinstance(padding, str) or module.padding_mode != "zeros":
        x, padding = _padded(module, x.flatten(0, 1)).unflatten(0, (n, places)), 0  # type: ignore[assignment]
    weight = _WEIGHT_GRADIENTS[len(module.kernel_size)](
        x.flatten(0, 2)[None],
        (n * places * d_out, d_in, *module.kernel_size),
        e.flatten(0, 2)[None],
        module.stride,
        padding,
        module.dilation,
        n * places * module.groups,
    )
    vectors = weight.view(n, places, -1)
    vectors = vectors[:, 0] if places == 1 else vectors.sum(1)
    if bias:
        vectors = torch.cat([vectors, e.flatten(3).sum((1, 3))], 1)
    return Dense(vectors, Matrix(d_out, width, bias) if module.groups == 1 else None)


def transposed_convolution(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer | Dense:
    """Σ_l x_l b_lᵀ over all places l of the input, b_l the output gradient its kernel reaches."""
    assert isinstance(module, _ConvNd) and not bias
    b = _windows(module, _reached(module, x, e.flatten(0, 1)), x.shape[:2])
    return _term(module, b, x.flatten(3).mT.flatten(1, 2), bias)


def _term(module: _ConvNd, a: Tensor, e: Tensor, bias: bool) -> Outer | Dense:
    """Σ_t e_t a_tᵀ; with groups the weight has a block for each: these small blocks are formed."""
    if module.groups == 1:
        return Outer(a, e, bias)
    e_of, a_of = (t.unflatten(2, (module.groups, -1)) for t in (e, a))
    weight = torch.einsum("ntgo,ntgi->ngoi", e_of, a_of).flatten(1)
    return Dense(torch.cat([weight, e.sum(1)], 1) if bias else weight)


def _windows(module: _ConvNd, x: Tensor, lead: torch.Size) -> Tensor:
    """Return what a kernel sees at each place of x (n · P, C, *size), (n, P · places, C · kernel)."""
    sizes = zip(module.kernel_size, module.stride, module.dilation, strict=True)
    for axis, (k, s, d) in enumerate(sizes, start=2):
        x = x.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
    spatial = len(module.kernel_size)
    # (N, C, *places, *kernel) -> (N, C · kernel, places): whole rows of places are quick to copy
    x = x.movedim(tuple(range(2, 2 + spatial)), tuple(range(-spatial, 0)))
    return x.flatten(1, 1 + spatial).flatten(2).mT.unflatten(0, lead).flatten(1, 2)


def _padded(module: _ConvNd, x: Tensor) -> Tensor:
    if module.padding == "same":
        # One more at the end where the whole is odd, as the module itself pads.
        around = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        sides = [side for total in reversed(around) for side in (total // 2, total - total // 2)]
    elif module.padding == "valid":
        return x
    else:
        assert not isinstance(module.padding, str)
        sides = [p for p in reversed(module.padding) for _ in range(2)]
    if not any(sides):
        return x
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(x, sides, mode=mode)


def _reached(module: _ConvNd, x: Tensor, e: Tensor) -> Tensor:
    """Return output gradients such that each input of x sees in a window those that it reaches."""
    padding: tuple[int, ...] = module.padding  # type: ignore[assignment]
    sides: list[int] = []
    for axis in reversed(range(len(module.kernel_size))):
        k, s, d = module.kernel_size[axis], module.stride[axis], module.dilation[axis]
        length = (x.shape[3 + axis] - 1) * s + d * (k - 1) + 1
        sides += [padding[axis], length - padding[axis] - e.shape[2 + axis]]
    return F.pad(e, sides)  # a negative number cuts off what no kernel reaches (output padding)


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


def _normed(module: Any, x: Tensor) -> Tensor:
    """Return x̂, the input of a norm as it is before its weight."""
    match module:
        case nn.LayerNorm():
            return F.layer_norm(x, module.normalized_shape, eps=module.eps)
        case nn.RMSNorm():
            return F.rms_norm(x, module.normalized_shape, eps=module.eps)
        case nn.GroupNorm():
            return F.group_norm(x, module.num_groups, eps=module.eps)
        case _:
            return F.batch_norm(x, module.running_mean, module.running_var, eps=module.eps)


def _fixed_statistics(module: Any) -> bool:
    return module.running_mean is not None and not module.training


def _plain_embedding(module: Any) -> bool:
    return module.max_norm is None and not module.scale_grad_by_freq


def _plain_bag(module: Any) -> bool:
    return _plain_embedding(module) and module.mode != "max" and not module.include_last_offset


_LAST_NORM = Rule(scale, 1, 1, fits=lambda m: len(m.normalized_shape) == 1, prepare=_normed)
_BATCH_NORM = Rule(scale, -1, -1, fits=_fixed_statistics, prepare=_normed)

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
    nn.LayerNorm: _LAST_NORM,
    nn.RMSNorm: _LAST_NORM,
    nn.GroupNorm: Rule(scale, -1, -1, prepare=_normed),
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
