"""The gradients of convolutions: outer products of unfolded inputs and output gradients, or formed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv1d_weight, conv2d_weight, conv3d_weight
from torch.nn.modules.conv import _ConvNd

from headwater.gradients.matrix import Matrix
from headwater.gradients.outer import Outer
from headwater.gradients.term import Dense

_WEIGHT_GRADIENTS = {1: conv1d_weight, 2: conv2d_weight, 3: conv3d_weight}


def convolution(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer | Dense:
    """Σ_l e_l a_lᵀ over all places l, a_l the input that the kernel sees there."""
    assert isinstance(module, _ConvNd)
    a = _windows(module, _padded(module, x.flatten(0, 1)), x.shape[:2])
    return _term(module, a, e.flatten(3).mT.flatten(1, 2), bias)


def formed_convolution(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Dense | None:
    """The same, formed: the gradient of one convolution in which each sample is a group of its own.

    None where inputs and output gradients are smaller, or there are no samples.
    """
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
    """Σ_l x_l b_lᵀ over all places l of the input, b_l the output gradient its kernel reaches.

    The weight is stored as (C_in, C_out / groups, *kernel).
    """
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
