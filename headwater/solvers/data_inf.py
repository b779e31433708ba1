"""DataInf: the mean of the samples' own inverses in place of the inverse of their mean."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_shape
from headwater.curvature.operator import ROW_PER_SAMPLE, LinearOperator, of_kind
from headwater.curvature.row_operator import BlockSource, RowOperator, group_products
from headwater.gradients import Gradients
from headwater.kernels import exact_products
from headwater.memory import LARGE, Cost, Sizes, default_budget, row_blocks
from headwater.solvers.damping import Damping
from headwater.solvers.solver import DirectSolver, Inverse, State


@dataclass(frozen=True)
class DataInf(DirectSolver):
    """Replace (C + λI)^-1 by the mean over samples of (r_i r_iᵀ + λI)^-1, group by group.

    x_l = (1/λ) (b_l - (1/n) Σ_i d_il ⟨r_il, b_l⟩ r_il),  d_il = 1 / (λ + ‖r_il‖²),  r_i = ρ_i g_i,

    where a group l is the weight of a layer with its bias, or a block of a projected gradient. Cost of
    products with the training gradients: about n² (m + d_in + d_out) operations for n training and m
    test samples; no gradient is formed where a group has more than n/2 parameters. The residual of a
    solution is that of C + λI, which it does not make small.

    Reference:
        Kwon et al., DataInf: Efficiently Estimating Data Influence in LoRA-tuned LLMs and Diffusion
        Models, ICLR 2024.

    Example:
        >>> C = RowOperator.of(Gradients.of_vectors(torch.eye(2)))
        >>> solver = DataInf(damping=0.5)  # (1/λ)(1 - (1/n) / (λ + 1))
        >>> [round(float(x), 3) for x in solver.solve(C, solver.prepare(C), torch.ones(1, 2)).value[0]]
        [1.333, 1.333]
    """

    damping: Damping
    asks = frozenset({ROW_PER_SAMPLE})

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"squared_norms": ‖r_il‖² (groups, n)} in float64."""
        rows = of_kind(operator, RowOperator, "DataInf")
        norms = [
            torch.stack([term.squared_norms().double() for term in block.terms])
            for block, _ in rows.blocks()
        ]
        return {"squared_norms": torch.cat(norms, 1) * rows.scale.square()}

    def inverse(self, operator: LinearOperator, state: State) -> Inverse:
        """Return b ↦ x of the formula above, group by group."""
        rows = of_kind(operator, RowOperator, "DataInf")

        def solved(rhs: Tensor) -> Tensor:
            check_shape("the right-hand sides", rhs, (None, operator.size))
            products = _products(rows, rows.scheme.split(rhs))
            weights = (products * self._weights(rows, state)).to(rows.dtype)
            sums = _sums(rows, weights, range(len(weights)))
            return (rhs - rows.scheme.join([*sums.values()])).div_(self.shift)

        return solved

    def solve_gradients(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return {"products": ⟨g_k, x_j⟩ (n, m)} with all training gradients, in float64."""
        rows, found = of_kind(operator, RowOperator, "DataInf"), []
        for _, products in _in_parts(rows, test):
            weights = (products * self._weights(rows, state)).to(rows.dtype)
            found.append((products - _among_rows(rows, weights)).sum(0).div_(self.shift))
        return {"products": torch.cat(found, 1)}

    def quadratic(
        self, operator: LinearOperator, state: State, source: BlockSource, power: int
    ) -> Tensor:
        """Return (‖g‖² - ⟨w, Gg⟩) / λ, or ‖g - Gᵀw‖² / λ², with w = ρ² d Gg / n, G all gradients."""
        rows, found = of_kind(operator, RowOperator, "DataInf"), []
        weights = self._weights(rows, state)
        for block in source.train_blocks():
            if power == 1:
                squares = block.squared_norms().double()
                for known, where in rows.blocks(len(block)):
                    for d, products in zip(weights, group_products(known, block), strict=True):
                        squares -= (products.square_() * d[where]).sum(0)
                found.append(squares.div_(self.shift))
                continue
            for part, products in _in_parts(rows, block):
                w = products * weights
                # ‖g - Gᵀw‖² = ‖g‖² + ⟨w, GGᵀw - 2Gg⟩
                left = _among_rows(rows, w.to(rows.dtype)) - 2 * products
                squares = part.squared_norms() + (w * left).sum((0, 1))
                found.append(squares.div_(self.shift**2))
        return torch.cat(found)

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of products with all training gradients, one group after the other."""
        n, m = sizes.n, sizes.m
        return Cost(32 * n * m, n * (n * m + (n / 2 + m) * sizes.pair), 8 * n * m)

    def _weights(self, rows: RowOperator, state: State) -> Tensor:
        """Return ρ_i² d_il / n, (groups, n, 1)."""
        return (rows.scale.square() / (rows.n * (self.shift + state["squared_norms"]))).unsqueeze(2)


def _in_parts(rows: RowOperator, gradients: Gradients) -> Iterator[tuple[Gradients, Tensor]]:
    """Yield gradients in as few parts as memory allows, and their products with all rows, by group."""
    width, numbers = len(rows.scheme.groups) * rows.n, default_budget(rows.device) // 64
    blocks = list(row_blocks(len(gradients), width, rows.device, numbers=numbers))
    for block in blocks or [slice(0)]:
        yield gradients[block], _products(rows, gradients[block])


def _products(rows: RowOperator, gradients: Gradients) -> Tensor:
    """Return ⟨g_il, f_jl⟩ over each group, (groups, n, m) in float64."""
    blocks = rows.blocks(len(gradients))
    parts = [torch.stack([*group_products(block, gradients)]) for block, _ in blocks]
    return torch.cat(parts, 1).double()


def _sums(rows: RowOperator, weights: Tensor, groups: Iterable[int]) -> dict[int, Tensor]:
    """Return Σ_i w_ij g_il over some groups l, each (m, width), for weights (groups, n, m)."""
    m, schemes = weights.shape[2], rows.scheme.by_group
    sums = {group: weights.new_zeros(m, schemes[group].layout.size) for group in groups}
    with exact_products():
        for block, where in rows.blocks():
            for group, total in sums.items():
                w, term = weights[group, where], block.terms[group]
                for part in row_blocks(len(term), term.width, w.device, numbers=LARGE):
                    total.addmm_(w[part].T, term[part].dense())
    return sums


def _among_rows(rows: RowOperator, weights: Tensor) -> Tensor:
    """Return ⟨g_k, Σ_i w_ij g_i⟩ over each group, (groups, n, m): narrow ones through vectors."""
    out, widths = torch.zeros_like(weights), [part.layout.size for part in rows.scheme.by_group]
    narrow = [g for g, width in enumerate(widths) if 2 * width < rows.n]
    wide = [g for g in range(len(widths)) if g not in narrow]
    sums = _sums(rows, weights, narrow)
    with exact_products():
        for block, where in rows.blocks():
            for g, vectors in sums.items():
                out[g, where] = block.terms[g].inner_vectors(vectors)
        for panel, columns in rows.panels() if wide else ():
            for block, where in rows.blocks(len(panel)):
                for g in wide:
                    gram = weights.new_zeros(len(block), len(panel))
                    block.terms[g].add_inner(panel.terms[g], gram)
                    out[g, where] += gram @ weights[g, columns]
    return out.double()
