"""LiSSA: a truncated Neumann series on mini-batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_positive, check_shape
from headwater.curvature import MEAN_OVER_SAMPLES, LinearOperator, SampleOperator
from headwater.curvature.operator import of_kind
from headwater.memory import Cost, Sizes, row_blocks
from headwater.solvers.damping import Damping, check_damping
from headwater.solvers.lanczos import largest_eigenvalue
from headwater.solvers.solver import Solution, Solver, State, with_residual

BATCHES, PRODUCTS = 16, 5
"""Mini-batches whose largest eigenvalue is estimated beside that of all samples, and products each."""
MARGIN = 1.5
"""The scale beside the largest eigenvalue that was found; half of it is enough to converge."""


@dataclass(frozen=True)
class LiSSA(Solver):
    """Sum the Neumann series of (C + λI)^-1, every step on another mini-batch of samples.

    x_0 = b,  x_t = b + x_{t-1} - (C_t + λI) x_{t-1} / s  for t = 1..J;  (C + λI)^-1 b ≈ x_J / s,

    averaged over repeats. C_t is the curvature of one mini-batch, shared by all right-hand sides. It
    converges for s > ½ (largest eigenvalue of any C_t + λ). Stopping after J steps is a hidden
    damping of about s / J.
    Cost: repeats · depth products on batch_size samples, and one on all for the true residual.

    Args:
        damping: λ ≥ 0, absolute or relative.
        scale: s; None: 1.5 × (λ + the largest eigenvalue that a few products find on all samples and
            on 16 mini-batches).
        depth: J, steps.
        batch_size: samples per step, drawn without replacement; all of them if there are fewer.
        repeats: independent runs, averaged.
        seed: of the draws. They are numbers of samples: how the data is batched does not matter.

    Reference:
        Agarwal, Bullins and Hazan, Second-Order Stochastic Optimization for Machine Learning in Linear
        Time, JMLR 2017.
    """

    damping: Damping
    scale: float | None = None
    depth: int = 1000
    batch_size: int = 50
    repeats: int = 1
    seed: int = 0
    asks = frozenset({MEAN_OVER_SAMPLES})

    def __post_init__(self) -> None:
        check_damping(self.damping, allow_zero=True)
        for name in ("depth", "batch_size", "repeats"):
            check_positive(name, getattr(self, name))
        if self.scale is not None:
            check_positive("scale", self.scale)

    def prepare(self, operator: LinearOperator) -> State:
        """Return {"largest": the largest eigenvalue found ()}, or nothing if the scale is given."""
        whole = of_kind(operator, SampleOperator, "LiSSA")  # type: ignore[type-abstract]
        if self.scale is not None:
            return {}
        generator = torch.Generator().manual_seed(self.seed)
        largest = largest_eigenvalue(whole, seed=self.seed)
        for _ in range(BATCHES if self.batch_size < whole.n else 0):
            part = self._draw(whole, generator)
            largest = max(largest, largest_eigenvalue(part, PRODUCTS, self.seed))
        return {"largest": torch.tensor(largest, dtype=torch.float64)}

    def solve(self, operator: LinearOperator, state: State, rhs: Tensor) -> Solution:
        """Solve for each row of rhs; ValueError if the series diverges."""
        check_shape("the right-hand sides", rhs, (None, operator.size))
        whole, scale = of_kind(operator, SampleOperator, "LiSSA"), self.scale  # type: ignore[type-abstract]
        if scale is None:  # 1 where C = 0 without damping: any scale gives the same series
            scale = MARGIN * (float(state["largest"]) + self.shift) or 1.0
        generator = torch.Generator().manual_seed(self.seed)
        norms, total = rhs.norm(dim=1), torch.zeros_like(rhs)
        for _ in range(self.repeats):
            x = rhs.clone()
            for t in range(1, self.depth + 1):
                drawn = self._draw(whole, generator)
                for rows in row_blocks(len(rhs), operator.size, rhs.device, least=16):
                    product = drawn.apply(x[rows]).add_(x[rows], alpha=self.shift)
                    x[rows].sub_(product, alpha=1.0 / scale).add_(rhs[rows])
                # It is at most (t+1) ‖b‖ while no I - (C_t + λI)/s expands.
                found = x.norm(dim=1)
                grown = ~(found <= 2 * (t + 1) * norms)
                if bool(grown.any()):
                    row = int(grown.nonzero()[0])
                    raise ValueError(
                        f"LiSSA must converge, but right-hand side {row} grew from norm "
                        f"{float(norms[row]):.3g} to {float(found[row]):.3g} in {t} steps with scale "
                        f"{scale:.3g}; raise scale above the largest eigenvalue of a mini-batch (None "
                        "estimates it), or the damping if it is indefinite"
                    )
            total += x
        x = total.div_(self.repeats * scale)
        return with_residual(operator.apply(x), self.shift, x, rhs, self.depth)

    def cost(self, sizes: Sizes) -> Cost:
        """Return that of x and b, of all steps and of the residual."""
        passes = 1 + self.repeats * self.depth * min(1.0, self.batch_size / sizes.n)
        return super().cost(sizes)._replace(operations=passes * sizes.m * sizes.product)

    def _draw(self, operator: SampleOperator, generator: torch.Generator) -> LinearOperator:
        if self.batch_size >= operator.n:
            return operator
        drawn = torch.randperm(operator.n, generator=generator)[: self.batch_size]
        return operator.on(drawn.sort().values)
