"""PyTorch's fast kernels switched off, where they hide layers, lose digits or have no derivative."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch.backends import cuda, mha
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def no_fast_path() -> Iterator[None]:
    """Make PyTorch's transformer layers call their children, in all threads, for hooks to see."""
    enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(enabled)


def differentiable_attention() -> AbstractContextManager[None]:
    """Compute attention from plain products: fused kernels have no second derivative nor vmap."""
    return sdpa_kernel(SDPBackend.MATH)


@contextmanager
def exact_products() -> Iterator[None]:
    """Multiply float32 matrices on CUDA in float32 wherever TF32 is allowed, in all threads.

    TF32 keeps 10 bits of each factor: an error of 1e-3 that an inverse with a small damping enlarges.
    """
    matmul: Any = cuda.matmul  # reading the old switch fails where a user has set the new one
    new = hasattr(matmul, "fp32_precision")  # since PyTorch 2.9
    name, exact = ("fp32_precision", "ieee") if new else ("allow_tf32", False)
    before = getattr(matmul, name)
    setattr(matmul, name, exact)
    try:
        yield
    finally:
        setattr(matmul, name, before)
