"""The Gram matrix ΦᵀΦ of projected gradients, whole or in diagonal blocks, and its damped inverse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from headwater.checks import check_positive
from headwater.gradients import DenseGradients, Gradients
from headwater.solvers import State

__all__ = ["Blocks", "block_sizes", "check_blocks", "factorise", "gram_blocks", "whiten"]

Blocks = int | Sequence[int] | Literal["layers"]
"""A number of equal blocks, the size of each, or one block a layer of a layer-wise projection."""


def check_blocks(blocks: Blocks) -> None:
    """Raise ValueError unless blocks says how to cut the columns."""
    if isinstance(blocks, str):
        if blocks != "layers":
            raise ValueError(f"blocks must be a number, sizes or 'layers', got {blocks!r}")
        return
    if not isinstance(blocks, int) and not len(blocks):
        raise ValueError("blocks must hold at least one size, got none; use 1 for one block of all")
    for size in [blocks] if isinstance(blocks, int) else blocks:
        check_positive("blocks", size)


def block_sizes(blocks: Blocks, gradients: Gradients) -> list[int]:
    """Return how many columns each block has, from left to right.

    Raises:
        ValueError: if the gradients cannot be cut like this.
    """
    dimension = gradients.dimension
    if blocks == "layers":
        sizes = list(gradients.blocks) if isinstance(gradients, DenseGradients) else []
        if not sizes:
            raise ValueError(
                "blocks='layers' needs gradients that were projected layer by layer, got others; "
                "pass a layer-wise projection, or the sizes as blocks=(...)"
            )
    elif isinstance(blocks, int):
        parts = torch.tensor_split(torch.empty(dimension), blocks)
        sizes = [len(part) for part in parts]
    else:
        sizes = [int(size) for size in blocks]
    if sum(sizes) != dimension or min(sizes) < 1:
        raise ValueError(
            f"blocks must cut {dimension} dimensions into parts that are not empty, got {blocks!r}; "
            "use fewer blocks, or sizes that add up"
        )
    return sizes


def gram_blocks(parts: Iterable[Tensor], sizes: Sequence[int]) -> dict[str, Tensor]:
    """Return {"gram.0000": Φ_1ᵀΦ_1, ...} in float64; no block depends on any damping.

    Args:
        parts: Φ (n, k), some rows at a time.
        sizes: columns of each block.
    """
    grams: dict[str, Tensor] = {}
    for part in parts:
        for b, phi in enumerate(part.to(torch.float64).split(list(sizes), 1)):
            name = f"gram.{b:04d}"
            if name in grams:
                grams[name].addmm_(phi.T, phi)
            else:
                grams[name] = phi.T @ phi
    return grams


def factorise(state: State, damping: float, samples: int = 1) -> list[Tensor]:
    """Return the Cholesky factors of Φ_bᵀΦ_b + samples · λ I, block by block.

    Raises:
        ValueError: if one is singular.
    """
    factors = []
    for name in sorted(name for name in state if name.startswith("gram.")):
        gram = state[name].clone()
        gram.diagonal().add_(samples * damping)
        factor, info = torch.linalg.cholesky_ex(gram)
        # Pivots of a singular matrix are rounding errors, which may well be positive.
        pivots = factor.diagonal().square()
        least = len(gram) * torch.finfo(gram.dtype).eps * gram.diagonal().max()
        if int(info) != 0 or bool((pivots <= least).any()):
            raise ValueError(
                f"ΦᵀΦ + λI must be positive definite, got a singular matrix of size {len(gram)} with "
                f"damping {damping}; use a dimension below the number of samples, or damping > 0"
            )
        factors.append(factor)
    return factors


def whiten(factors: Sequence[Tensor], phi: Tensor) -> Tensor:
    """Return (ΦᵀΦ + λI)^-1 φ for each row φ, block by block, in the rows' own dtype."""
    blocks = phi.to(torch.float64).split([len(factor) for factor in factors], 1)
    pairs = zip(blocks, factors, strict=True)
    solved = [torch.cholesky_solve(block.T, factor).T for block, factor in pairs]
    return torch.cat(solved, 1).to(phi.dtype).contiguous()
