"""Softmax regression with L2, fitted to a stationary point by Newton's method."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.checks import check_finite, check_positive, check_shape

TOLERANCE = 1e-12
"""Of the gradient at the solution, relative to the gradient at zero."""
INNER_STEPS = 500
"""Conjugate gradient steps in one Newton step, at most."""


@dataclass(frozen=True)
class SoftmaxFit:
    """The minimiser Θ, float64 (C, d), with ‖∇F(Θ)‖ and the number of Newton steps."""

    weight: Tensor
    gradient_norm: float
    steps: int


def fit_softmax(features: Tensor, teacher: Tensor, l2: float, max_steps: int = 100) -> SoftmaxFit:
    """Minimise F(Θ) = (1/n) Σ_i CE(q_i, softmax(Θ x_i)) + λ‖Θ‖² for x (n, d) and the teacher q (n, C).

    Newton's method with backtracking; each step by conjugate gradients, preconditioned with a
    Kronecker product S ⊗ A + 2λI near the Hessian: S = mean of diag(p_i) - p_i p_iᵀ, and A the second
    moment of the features, samples weighted by tr S_i. Cost: a d × d eigenproblem per Newton step,
    and O(n d C) per inner step.

    Raises:
        ValueError: if λ is not positive, the data are not finite, or the gradient does not fall to
            ‖∇F(Θ)‖ ≤ 1e-12 ‖∇F(0)‖, up to rounding.

    Reference:
        Martens and Grosse, Optimizing Neural Networks with Kronecker-factored Approximate Curvature,
        ICML 2015 (the preconditioner).
    """
    check_positive("l2", l2)
    check_shape("teacher", teacher, (len(features), None))
    check_finite("the features and the teacher", torch.cat([features, teacher], 1))
    problem = _Problem(features.to(torch.float64), teacher.to(torch.float64), l2)
    weight = problem.x.new_zeros(teacher.shape[1], features.shape[1])
    first = float(problem.gradient(weight).norm())
    rounding = 1e-15 * float(problem.x.square().sum(1).mean().sqrt())
    for step in range(max_steps + 1):
        gradient = problem.gradient(weight)
        norm = float(gradient.norm())
        if norm <= TOLERANCE * first + rounding:
            return SoftmaxFit(weight, norm, step)
        change = problem.newton_step(weight, gradient, min(0.1, norm / first))
        weight = weight + problem.step_size(weight, gradient, change) * change
    raise ValueError(
        f"the refit must reach a gradient of norm {TOLERANCE * first + rounding:.2g}, got {norm:.2g} "
        f"after {max_steps} Newton steps; raise l2={l2} or normalise the features"
    )


class _Problem:
    """F and its derivatives."""

    def __init__(self, x: Tensor, q: Tensor, l2: float) -> None:
        self.x, self.q, self.l2 = x, q, l2

    def value(self, weight: Tensor) -> float:
        log_p = (self.x @ weight.T).log_softmax(1)
        cross_entropy = -(self.q * log_p).sum() / len(self.x)
        return float(cross_entropy + self.l2 * weight.square().sum())

    def gradient(self, weight: Tensor) -> Tensor:
        """Return (P - Q)ᵀX/n + 2λΘ."""
        p = (self.x @ weight.T).softmax(1)
        return (p - self.q).T @ self.x / len(self.x) + 2 * self.l2 * weight

    def newton_step(self, weight: Tensor, gradient: Tensor, tolerance: float) -> Tensor:
        """Return about -H^-1 ∇F, by preconditioned conjugate gradients."""
        p = (self.x @ weight.T).softmax(1)
        precondition = self._preconditioner(p)
        solution, residual = torch.zeros_like(gradient), -gradient
        solved = precondition(residual)
        search, product = solved, float((residual * solved).sum())
        goal = tolerance * float(residual.norm())
        for _ in range(INNER_STEPS):
            applied = self._hessian(p, search)
            alpha = product / float((search * applied).sum())
            solution = solution + alpha * search
            residual = residual - alpha * applied
            if float(residual.norm()) <= goal:
                break
            solved = precondition(residual)
            product, previous = float((residual * solved).sum()), product
            search = solved + (product / previous) * search
        return solution

    def step_size(self, weight: Tensor, gradient: Tensor, change: Tensor) -> float:
        """Halve the step until F falls as Armijo's rule asks, up to rounding."""
        value, slope, size = self.value(weight), float((gradient * change).sum()), 1.0
        rounding = 1e-14 * abs(value)
        for _ in range(60):
            if self.value(weight + size * change) <= value + 1e-4 * size * slope + rounding:
                break
            size /= 2
        return size

    def _hessian(self, p: Tensor, vector: Tensor) -> Tensor:
        """Return (1/n) Σ_i (diag p_i - p_i p_iᵀ) V x_i x_iᵀ + 2λV."""
        z = self.x @ vector.T
        z = p * (z - (p * z).sum(1, keepdim=True))
        return z.T @ self.x / len(self.x) + 2 * self.l2 * vector

    def _preconditioner(self, p: Tensor) -> Callable[[Tensor], Tensor]:
        """Return V -> (S ⊗ A + 2λI)^-1 V; a sample that is surely classified weighs nothing in A."""
        weights = (p * (1.0 - p)).sum(1)
        spread = torch.diag(p.mean(0)) - p.T @ p / len(p)
        total = weights.sum().clamp_min(torch.finfo(p.dtype).tiny)
        moment = (self.x * (weights / total)[:, None]).T @ self.x
        (s, left), (a, right) = torch.linalg.eigh(spread), torch.linalg.eigh(moment)
        scale = torch.outer(s.clamp_min(0.0), a.clamp_min(0.0)) + 2 * self.l2
        return lambda v: left @ ((left.T @ v @ right) / scale) @ right.T
