"""The exact damped inverse of K-FAC and EK-FAC, in their own eigenbasis."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_shape
from headwater.curvature import EIGENBASIS, KroneckerOperator, LinearOperator
from headwater.curvature.operator import of_kind
from headwater.curvature.row_operator import BlockSource
from headwater.gradients import Dense, Gradients, Rows, Term
from headwater.gradients.packing import packed, unpacked
from headwater.solvers.damping import Damping
from headwater.solvers.solver import DirectSolver, Inverse, State


@dataclass(frozen=True)
class Eigenbasis(DirectSolver):
    """Solve with C = Q diag(Λ) Qᵀ: (C + λI)^-1 = Q diag(1/(Λ + λ)) Qᵀ, exactly.

    For scores no vector is rotated back: ⟨g_i, (C + λI)^-1 f_j⟩ = Σ_kl g̃_i,kl f̃_j,kl / (Λ_kl + λ) with
    g̃ = Q_Sᵀ g Q_A made of rotated factors. Directions in which Λ is below the rounding error of λ
    (dead pixels, dead units, the null spaces of softmax) all have the weight 1/λ: their part of the
    sum needs inner products of factors only, and no gradient is formed there.
    Cost: n·m·r_S·r_A multiply-adds per layer, r the numbers of directions that matter to λ.
    """

    damping: Damping
    asks = frozenset({EIGENBASIS})

    def prepare(self, operator: LinearOperator) -> State:
        """Return nothing: the operator is its own eigendecomposition."""
        of_kind(operator, KroneckerOperator, "Eigenbasis")
        return {}

    def inverse(self, operator: LinearOperator, state: State) -> Inverse:
        """Return b ↦ Q diag(1/(Λ + λ)) Qᵀ b."""
        known = of_kind(operator, KroneckerOperator, "Eigenbasis")

        def solved(rhs: Tensor) -> Tensor:
            check_shape("the right-hand sides", rhs, (None, operator.size))
            return known.inverse_apply(rhs, self.shift)

        return solved

    def solve_gradients(self, operator: LinearOperator, state: State, test: Gradients) -> State:
        """Return the operator's tensors, λ, "test": f̃ (packed), and "near.<group>": f̃/(Λ + λ) (m, r, c).

        ValueError if the test gradients have other groups than the operator.
        """
        known = of_kind(operator, KroneckerOperator, "Eigenbasis")
        _check_groups(test, known)
        damping = torch.tensor(self.shift, dtype=torch.float64)
        solved, far = {**known.tensors(), "damping": damping}, []
        for name, block, term in zip(known.scheme.names, known.blocks, test.terms, strict=True):
            rotated = block.rotate(term)
            if block.inputs is None:  # (λ/(Λ + λ)) ∘ f̃, for the weight 1/λ: a table stays one
                far.append(_weighted(rotated, self.shift / (block.eigenvalues + self.shift)))
            else:
                r, c = self._reach(block.eigenvalues)
                weights = 1.0 / (block.eigenvalues[:r, :c] + self.shift)
                near = rotated.two_sided(_Part(0, c), _Part(0, r)).dense().view(len(test), r, c)
                # In place: where this is a part of f̃, it is the one that is not used again.
                solved[f"near.{name}"] = near.mul_(weights).contiguous()
                far.append(rotated)
        return {**solved, **packed(Gradients(known.scheme, far, test.values), "test")}

    def score(self, train: Gradients, rows: slice, solved: State) -> Tensor:
        """Return ⟨g_i, (C + λI)^-1 f_j⟩, (b, m), for one block of training gradients.

        Directions are sorted by K-FAC's eigenvalues. From some row r and some column c on Λ_kl is less
        than the rounding error of λ, and f̃_kl/(Λ_kl + λ) = f̃_kl/λ. With x = f̃/(Λ + λ) a layer adds

        Σ_{k<r, l<c} g̃_kl x_kl + (1/λ) [Σ_{k≥r, l} g̃_kl f̃_kl + Σ_{k<r, l≥c} g̃_kl f̃_kl].
        """
        test = unpacked(solved, "test")
        known = KroneckerOperator.from_tensors(solved, test.scheme)
        _check_groups(train, known)
        near = torch.zeros(len(train), len(test), dtype=train.dtype, device=train.device)
        beyond = torch.zeros_like(near)  # the sums in brackets
        groups = zip(known.scheme.names, known.blocks, train.terms, test.terms, strict=True)
        for name, block, mine, theirs in groups:
            g, x = block.rotate(mine), solved.get(f"near.{name}")
            if x is None:  # r = 0
                g.add_inner(theirs, beyond)
                continue
            assert g.matrix is not None
            (_, r, c), (d_out, d_in) = x.shape, (g.matrix.d_out, g.matrix.d_in)
            if r and c:
                near += g.two_sided(_Part(0, c), _Part(0, r)).inner_vectors(x.flatten(1))
            for sides in ((_Part(0, d_in), _Part(r, d_out)), (_Part(c, d_in), _Part(0, r))):
                if all(map(len, sides)):
                    g.two_sided(*sides).add_inner(theirs.two_sided(*sides), beyond)
        return near.add_(beyond, alpha=1.0 / float(solved["damping"]))

    def quadratic(
        self, operator: LinearOperator, state: State, source: BlockSource, power: int
    ) -> Tensor:
        """Return ⟨g_i, (C + λI)^-power g_i⟩ = Σ_kl g̃_i,kl² / (Λ_kl + λ)^power, (n,)."""
        known, found = of_kind(operator, KroneckerOperator, "Eigenbasis"), []
        for gradients in source.train_blocks():
            _check_groups(gradients, known)
            total = torch.zeros(len(gradients), dtype=torch.float64, device=gradients.device)
            for block, term in zip(known.blocks, gradients.terms, strict=True):
                weights = (block.eigenvalues.double() + self.shift) ** -power
                total += block.rotate(term).weighted_squares(weights)
            found.append(total)
        return torch.cat(found)

    def _reach(self, eigenvalues: Tensor) -> tuple[int, int]:
        """Return how many rows and columns of Λ hold all entries that λ + Λ feels beside λ."""
        large = eigenvalues > 0.5 * torch.finfo(eigenvalues.dtype).eps * self.shift
        last = [large.any(1 - dim).nonzero() for dim in (0, 1)]
        r, c = (int(found[-1]) + 1 if len(found) else 0 for found in last)
        return r, c


@dataclass(frozen=True)
class _Part:
    """The linear map that keeps some coordinates."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., self.start : self.stop]

    def units(self, index: Tensor, size: int) -> Tensor:
        kept = torch.arange(self.start, self.stop, device=index.device)
        return index.unsqueeze(-1) == kept


def _weighted(term: Term, weights: Tensor) -> Term:
    """Return weights_kl G_i,kl; a table stays one, any other term is formed."""
    if isinstance(term, Rows):
        return Rows(term.index, term.output_gradients * weights.T[term.index], term.size)
    if term.matrix is None:
        return Dense(term.dense() * weights)
    matrices = term.matrix.matrices(term.dense())
    return Dense(term.matrix.vectors(matrices * weights), term.matrix)


def _check_groups(gradients: Gradients, operator: KroneckerOperator) -> None:
    if gradients.scheme != operator.scheme:
        raise ValueError(
            "Eigenbasis needs gradients in the groups of the curvature, got "
            f"{gradients.scheme.names} instead of {operator.scheme.names}; capture both with the same "
            "model and layers"
        )
