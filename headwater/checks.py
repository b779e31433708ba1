"""Checks shared by the public functions: one sentence each, saying what must hold and what came."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def check_positive(name: str, value: float, *, allow_zero: bool = False) -> None:
    """Raise ValueError unless a number is positive (or not negative)."""
    if not (value >= 0 if allow_zero else value > 0):
        raise ValueError(f"{name} must be {'>= 0' if allow_zero else '> 0'}, got {value}")


def agree(found: Tensor, wanted: Tensor, rtol: float, atol: float) -> bool:
    """Whether two tensors hold the same numbers, up to a few roundings in the coarser of their dtypes.

    Example:
        >>> agree(torch.tensor([3.0], dtype=torch.bfloat16), torch.tensor([3.01]), 1e-4, 0.0)
        True
    """
    eps = max(torch.finfo(t.dtype).eps for t in (found, wanted))
    return torch.allclose(found.double(), wanted.double(), rtol=max(rtol, 4 * eps), atol=atol)


def check_shape(name: str, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless a tensor has a shape (None stands for any length)."""
    given = tuple(tensor.shape)
    if len(given) != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, given, strict=True)
    ):
        wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise ValueError(f"{name} must have shape {wanted}, got {given}")


def check_finite(name: str, tensor: Tensor, first_row: int = 0) -> None:
    """Raise ValueError naming the first sample (row) that holds a NaN or an infinity."""
    if bool(torch.isfinite(tensor.sum())):
        return  # no NaN or infinity leaves a sum finite; a finite sum may overflow
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        row = int((~finite).reshape(len(tensor), -1).any(dim=1).nonzero()[0]) + first_row
        raise ValueError(
            f"{name} must be finite, got NaN or infinity at sample {row}; "
            "look at that sample and at the model's output for it"
        )


def check_all_finite(tensors: Mapping[str, Tensor], first_row: int = 0) -> None:
    """Check named tensors as `check_finite` does; one number leaves the device for all of them."""
    sums = [tensor.sum().double() for tensor in tensors.values()]
    if sums and not bool(torch.isfinite(torch.stack(sums).sum())):
        for name, tensor in tensors.items():
            check_finite(name, tensor, first_row)
