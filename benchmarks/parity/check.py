"""What a check is: two results that must be the same, by definitions written apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["SCORES", "Check", "relative_difference", "scaled_to"]

SCORES = 2e-7
"""Tolerance of scores: ours are computed in float64 here, and returned in float32 always."""
TIGHT = 1e-9
"""Tolerance of what is float64 on both sides."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Args:
        name: what is compared.
        pair: returns (ours, theirs), of one shape.
        tolerance: of max |ours - theirs| / max |ours|.
    """

    name: str
    pair: Callable[[], tuple[Any, Any]]
    tolerance: float = TIGHT


def relative_difference(ours: Any, theirs: Any) -> float:
    """Return max |ours - theirs| / max |ours|; NaN if a value is NaN.

    Raises:
        ValueError: if the shapes differ.
    """
    a, b = (torch.as_tensor(x).detach().double() for x in (ours, theirs))
    if a.shape != b.shape:
        raise ValueError(f"both must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return float((a - b).abs().max() / a.abs().max())


def scaled_to(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return theirs times the positive number that brings it closest to ours."""
    factor = float((ours.double() * theirs.double()).sum() / theirs.double().square().sum())
    if factor <= 0:
        raise ValueError(f"theirs must have the sign of ours, got a factor of {factor:.3g}")
    return theirs * factor
