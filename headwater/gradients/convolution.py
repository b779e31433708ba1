"""The gradients of convolutions: outer products of unfolded inputs and output gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from headwater.gradients.outer import Outer
from headwater.gradients.term import Dense

__all__ = ["convolution", "transposed_convolution"]


def windows(
    x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Tensor:
    """Return what a kernel sees at each of its places, a view: (N, C, *places, *kernel)."""
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + axis, d * (k - 1) + 1, s)
        x = x[..., ::d]
    return x


def padded(module: _ConvNd, x: Tensor) -> Tensor:
    """Return the input with the module's padding, of any mode."""
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


def convolution(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer | Dense:
    """Σ_l e_l a_lᵀ over all places l, a_l the input that the kernel sees there.

    With groups the weight has a block of its own for each: these small blocks are formed.
    """
    assert isinstance(module, _ConvNd)
    seen = windows(
        padded(module, x.flatten(0, 1)), module.kernel_size, module.stride, module.dilation
    )
    spatial = len(module.kernel_size)
    # (N, C, *places, *kernel) -> (N, *places, C, *kernel)
    a = seen.movedim(1, spatial + 1).flatten(spatial + 1).unflatten(0, x.shape[:2])
    a = a.flatten(1, spatial + 1)
    out = e.flatten(3).mT.flatten(1, 2)
    if module.groups == 1:
        return Outer(a, out, bias)
    groups = module.groups
    weight = torch.einsum(
        "ntgo,ntgi->ngoi", out.unflatten(2, (groups, -1)), a.unflatten(2, (groups, -1))
    ).flatten(1)
    return Dense(torch.cat([weight, out.sum(1)], 1) if bias else weight)


def transposed_convolution(module: nn.Module, x: Tensor, e: Tensor, bias: bool) -> Outer | Dense:
    """Σ_l x_l b_lᵀ over all places l of the input, b_l the output gradient its kernel reaches.

    The weight is stored as (C_in, C_out / groups, *kernel).
    """
    assert isinstance(module, _ConvNd) and not bias
    spatial, groups = len(module.kernel_size), module.groups
    reach = _reached(module, x, e.flatten(0, 1)).movedim(1, spatial + 1)
    b = reach.flatten(spatial + 1).unflatten(0, x.shape[:2]).flatten(1, spatial + 1)
    b = b.unflatten(2, (groups, -1))
    inputs = x.flatten(3).mT.flatten(1, 2).unflatten(2, (groups, -1))
    if groups == 1:
        return Outer(b[:, :, 0], inputs[:, :, 0])
    return Dense(torch.einsum("ntgi,ntgo->ngio", inputs, b).flatten(1))


def _reached(module: _ConvNd, x: Tensor, e: Tensor) -> Tensor:
    """Return the output gradients that each input reaches, (N, C_out, *places, *kernel)."""
    padding: tuple[int, ...] = module.padding  # type: ignore[assignment]
    sides: list[int] = []
    for axis in reversed(range(len(module.kernel_size))):
        k, s, d = module.kernel_size[axis], module.stride[axis], module.dilation[axis]
        length = (x.shape[3 + axis] - 1) * s + d * (k - 1) + 1
        before = padding[axis]
        sides += [before, length - before - e.shape[2 + axis]]
    # A negative number cuts off what no kernel reaches (output padding).
    return windows(F.pad(e, sides), module.kernel_size, module.stride, module.dilation)
