"""How near two results must be, by the dtype that they were computed in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["SCORES", "TOLERANCE", "assert_close"]

TOLERANCE = {
    torch.float64: 1e-10,
    torch.float32: 2e-5,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}
"""Of the norm of a difference beside that of the result, over a few layers and sums."""

SCORES = {
    torch.float64: 1e-6,
    torch.float32: 1e-3,
    torch.float16: 5e-2,
    torch.bfloat16: 2e-1,
}
"""Of the largest score, what scores in this dtype may be off; they are rounded to float32."""


def assert_close(found: Tensor, wanted: Tensor, dtype: torch.dtype, what: str = "result") -> None:
    """Fail unless the norm of a difference is small beside that of what is wanted."""
    assert found.shape == wanted.shape, f"{what}: {tuple(found.shape)}, not {tuple(wanted.shape)}"
    found, wanted = found.double().cpu(), wanted.double().cpu()
    error, scale = float((found - wanted).norm()), float(wanted.norm())
    limit = TOLERANCE[dtype] * scale + 1e-12
    assert error <= limit, f"{what}: off by {error:.1e} of {scale:.1e}"
