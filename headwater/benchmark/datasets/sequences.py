"""Long sequences of tokens as samples: blocks of one length, each with the tokens that follow."""

from torch import Tensor

__all__ = ["blocks"]


def blocks(tokens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Cut a sequence into blocks that do not overlap.

    Block b has inputs s[bT … bT + T - 1] and labels s[bT + 1 … bT + T]: the label of each place is the
    next token. What is left at the end, less than a block with all its labels, is dropped, so that
    the mean loss of every sample is one over T places.

    Args:
        tokens: int64 (N,).
        length: T.

    Returns:
        Inputs and labels, both (⌊(N - 1) / T⌋, T).

    Raises:
        ValueError: If the length is not positive.

    Example:
        >>> import torch
        >>> blocks(torch.arange(8), 3)
        (tensor([[0, 1, 2],
                [3, 4, 5]]), tensor([[1, 2, 3],
                [4, 5, 6]]))
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}: use 256 for the benchmark's")
    n = max(len(tokens) - 1, 0) // length
    return tokens[: n * length].view(n, length), tokens[1 : n * length + 1].view(n, length)
