"""PyTorch's fused kernels switched off, where they hide layers or cannot be differentiated twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["differentiable_attention", "no_fast_path"]


@contextmanager
def no_fast_path() -> Iterator[None]:
    """Make PyTorch's attention and transformer layers call their children, within the context.

    In evaluation mode without gradients they run fused kernels instead, which no hook sees. The
    switch is PyTorch's own, torch.backends.mha, and holds for all threads.

    Example:
        >>> with no_fast_path():
        ...     torch.backends.mha.get_fastpath_enabled()
        False
    """
    enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(enabled)


def differentiable_attention() -> AbstractContextManager[None]:
    """Compute attention from plain products, within the context.

    The fused kernels have no second derivative, no forward mode, and no rule for vmap.

    Example:
        >>> import torch
        >>> q = torch.ones(1, 2, 4)
        >>> with differentiable_attention():
        ...     torch.nn.functional.scaled_dot_product_attention(q, q, q).shape
        torch.Size([1, 2, 4])
    """
    return sdpa_kernel(SDPBackend.MATH)
