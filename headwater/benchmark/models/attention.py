"""What the attention of the language models has in common."""

import math

import torch
from torch import Tensor

__all__ = ["causal_softmax", "check_heads", "check_positions", "heads_of"]


def check_heads(width: int, n_heads: int) -> None:
    """Raise ValueError unless the width is a multiple of the number of heads."""
    if width % n_heads:
        raise ValueError(
            f"width must be a multiple of n_heads, got {width} and {n_heads}: change one of them"
        )


def check_positions(inputs: Tensor, length: int) -> None:
    """Raise ValueError if inputs (n, T, ...) have more positions than a model knows."""
    if inputs.shape[1] > length:
        raise ValueError(
            f"inputs must have at most {length} positions, got {inputs.shape[1]}: cut them, or build "
            "the model with a larger length"
        )


def heads_of(projected: Tensor, n_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values, (n, n_heads, T, d / n_heads) each, of a tensor (n, T, 3d)."""
    query, key, value = projected.unflatten(-1, (3, n_heads, -1)).transpose(1, 3).unbind(2)
    return query, key, value


def causal_softmax(scores: Tensor) -> Tensor:
    """Return softmax_s z_ts over the positions s <= t, 0 at later ones.

    Plain operations, unlike PyTorch's fused attention: its dropout draws from the global random
    state, and it has no second derivative.

    Args:
        scores: z (..., T, T), query by key.

    Returns:
        Attention weights, the shape of the scores.

    Example:
        >>> causal_softmax(torch.zeros(2, 2))
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1)
