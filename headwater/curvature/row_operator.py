"""Curvature made of rows: one gradient per training sample, or a few, read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor

from headwater.curvature.operator import SampleOperator
from headwater.gradients import Gradients, Scheme, concatenate
from headwater.kernels import exact_products
from headwater.memory import CACHED, LARGE, check_memory, default_budget, row_blocks


class BlockSource(Protocol):
    """Gradients that can be read block by block, as often as needed: any `GradientSource`."""

    @property
    def n(self) -> int:
        """Their number."""

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the gradients in order."""


@dataclass(frozen=True)
class KeptBlocks:
    """Blocks of gradients in memory, after those of another source if there is one."""

    blocks: tuple[Gradients, ...]
    after: BlockSource | None = None

    @property
    def n(self) -> int:
        """Their number."""
        return sum(map(len, self.blocks)) + (0 if self.after is None else self.after.n)

    def train_blocks(self) -> Iterator[Gradients]:
        """Yield the blocks."""
        return chain(() if self.after is None else self.after.train_blocks(), self.blocks)


class RowOperator(SampleOperator):
    """C = RᵀR/n with rows r_i = ρ_i g_i, the gradients g_i in any form.

    Its Gram matrix K = RRᵀ, K_ij = ρ_i ρ_j ⟨g_i, g_j⟩ (n × n), is made without forming a gradient. No
    method but `on` holds more than two blocks of gradients, one as large as memory allows.

    Args:
        source: the gradients g, n of them.
        scale: ρ, (n,).
        samples: how many rows, the first ones, are the gradients of training samples; default: all.
        budget: bytes that gradients may take while they are multiplied; default: a share of the free.
    """

    scheme: Scheme
    """The groups of parameters."""

    def __init__(
        self,
        source: BlockSource,
        scale: Tensor,
        samples: int | None = None,
        budget: int | None = None,
    ) -> None:
        if tuple(scale.shape) != (source.n,):
            raise ValueError(f"scale must have shape ({source.n},), got {tuple(scale.shape)}")
        if not source.n:
            raise ValueError("an operator made of rows needs gradients, got none")
        self.source, self.scale = source, scale.to(torch.float64)
        self.n, self.samples = source.n, source.n if samples is None else samples
        self._budget = budget
        self._kept: Gradients | None = None

    @classmethod
    def of(cls, gradients: Gradients, scale: Tensor | None = None) -> RowOperator:
        """Return the operator of gradients in memory; ρ = 1 by default."""
        rho = gradients.values.new_ones(len(gradients)) if scale is None else scale
        return cls(KeptBlocks((gradients,)), rho)

    def __getattr__(self, name: str) -> Any:
        """Read what the first block says of all when it is first asked for."""
        if name not in ("scheme", "size", "dtype", "device"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        first = next(iter(self.source.train_blocks()))
        self.scheme, self.size = first.scheme, first.dimension
        self.dtype, self.device = first.dtype, first.device
        return vars(self)[name]

    def apply(self, rows: Tensor) -> Tensor:
        """Return C v for each row v, (m, p)."""
        total = torch.zeros_like(rows)
        with exact_products():
            for g, where in self.formed():
                total.addmm_((rows @ g.T) * self.scale[where].square().to(g.dtype), g)
        return total.div_(self.n)

    def trace(self, probes: int = 0) -> float:
        """Return tr C = (1/n) Σ_i ρ_i² ‖g_i‖², exactly."""
        parts = [(g.squared_norms() * self.scale[i].square()).sum() for g, i in self.blocks()]
        return float(torch.stack(parts).sum()) / self.n

    def on(self, samples: Tensor) -> RowOperator:
        """Return the mean over some of the rows; all gradients are kept in memory from now on."""
        if self._kept is None:
            first = next(iter(self.source.train_blocks()))
            needed = 2 * self.n * first.nbytes // max(1, len(first))
            what = f"a copy of the gradients of {self.n:,} samples"
            advice = "use a solver that reads them in order, such as ConjugateGradient"
            check_memory(what, needed, advice, self.device)
            self._kept = concatenate(list(self.source.train_blocks()))
        samples = samples.to(self.device)
        return RowOperator.of(self._kept[samples], self.scale[samples])

    def gram(self) -> Tensor:
        """Return K, (n, n), in float64; each pair of blocks is multiplied once."""
        gram = torch.empty(self.n, self.n, dtype=torch.float64, device=self.device)
        for panel, columns in self.panels():
            for block, rows in self.blocks(self.n):
                if rows.start < columns.start:
                    continue  # K is symmetric: an earlier panel has met this block
                start = rows.start if rows.start < columns.stop else columns.start
                part = exact_inner(block, panel[start - columns.start :])
                part.mul_(self.scale[rows, None]).mul_(self.scale[start : columns.stop])
                gram[rows, start : columns.stop] = part
                gram[start : columns.stop, rows] = part.T
        return gram

    def times(self, test: Gradients) -> Tensor:
        """Return ρ_i ⟨g_i, f_j⟩, (n, m), in float64."""
        blocks = self.blocks(len(test))
        return torch.cat([exact_inner(g, test) * self.scale[i, None] for g, i in blocks])

    def vectors(self, coefficients: Tensor) -> Tensor:
        """Return Σ_i ρ_i c_ij g_i as one row per column of coefficients (n, m), (m, p)."""
        weights = (coefficients * self.scale[:, None]).to(self.dtype)
        total = weights.new_zeros(weights.shape[1], self.size)
        with exact_products():
            for g, where in self.formed():
                total.addmm_(weights[where].T, g)
        return total

    def pick(self, samples: Tensor) -> Gradients:
        """Return the gradients of some samples, (b,) in ascending order."""
        parts = []
        for block, rows in self.blocks():
            inside = samples[(samples >= rows.start) & (samples < rows.stop)]
            if len(inside):
                parts.append(block[inside - rows.start])
        return concatenate(parts)

    def blocks(
        self, width: int = 1, numbers: Mapping[str, int] = CACHED, least: int = 16
    ) -> Iterator[tuple[Gradients, slice]]:
        """Yield blocks of gradients, so few that as many rows of a width fit, and their rows."""
        start = 0
        for block in self.source.train_blocks():
            for part in row_blocks(len(block), width, block.device, numbers=numbers, least=least):
                yield block[part], slice(start + part.start, start + part.stop)
            start += len(block)

    def formed(self) -> Iterator[tuple[Tensor, slice]]:
        """Yield blocks of gradients as vectors (b, p), and their rows."""
        return ((g.dense(), rows) for g, rows in self.blocks(self.size, LARGE, least=1))

    def panels(self) -> Iterator[tuple[Gradients, slice]]:
        """Yield the gradients in as few blocks as the budget allows, and their rows."""
        budget = default_budget(self.device) if self._budget is None else self._budget
        waiting: list[Gradients] = []
        size = start = stop = 0
        for block in self.source.train_blocks():
            waiting.append(block)
            size, stop = size + block.nbytes, stop + len(block)
            if size >= budget or stop == self.n:
                del block
                yield concatenate(waiting), slice(start, stop)
                waiting, size, start = [], 0, stop


def group_products(left: Gradients, right: Gradients) -> Iterator[Tensor]:
    """Yield ⟨g_i, g'_j⟩ over one group after the other, (n, m), without TF32; refuse other groups."""
    if left.scheme != right.scheme:
        raise ValueError(
            "inner products need gradients of the same groups of parameters, got "
            f"{left.scheme.names} and {right.scheme.names}; capture both with the same model and layers"
        )
    for mine, theirs in zip(left.terms, right.terms, strict=True):
        part = torch.zeros(len(left), len(right), dtype=left.dtype, device=left.device)
        with exact_products():
            mine.add_inner(theirs, part)
        yield part


def exact_inner(left: Gradients, right: Gradients) -> Tensor:
    """Return ⟨g_i, g'_j⟩, (n, m), summed over the groups in float64."""
    total = torch.zeros(len(left), len(right), dtype=torch.float64, device=left.device)
    for part in group_products(left, right):
        total += part
    return total
