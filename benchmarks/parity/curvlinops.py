"""Against curvlinops: curvatures as whole matrices, on vectors and on sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import curvlinops
import torch
from curvlinops.kfac import FisherType
from torch import Tensor, nn

from benchmarks.parity.check import Check
from headwater import AttributionTask, targets
from headwater.curvature import (
    EKFAC,
    KFAC,
    Curvature,
    EmpiricalFisher,
    ExactHessian,
    GaussNewton,
    KroneckerOperator,
    LinearOperator,
)
from headwater.gradients.source import CapturedSource

__all__ = ["CHECKS"]

DAMPING = 0.05
DRAWS = 1000
SAMPLING = 0.05
"""Tolerance where labels are drawn."""


class _Pooled(nn.Module):
    """Linear layers on 4 positions, and one on their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, 3) of inputs (n, 4, 3)."""
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))).mean(1))


def _perceptron() -> nn.Module:
    layers = (nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 3))
    return nn.Sequential(*layers)


class _Case:
    """One model with 12 samples in two batches."""

    def __init__(self, make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            labels, inputs = torch.randint(3, (12,)), torch.randn(12, *shape).double()
            self.model = make().double().eval()
        self.data = [(inputs[:7], labels[:7]), (inputs[7:], labels[7:])]

    def ours(self, curvature: Curvature) -> LinearOperator:
        """Return headwater's operator."""
        task = AttributionTask(self.model, targets.cross_entropy)
        source = CapturedSource(task, 0, self.data, curvature.function(task))
        return curvature.operator(source, curvature.estimate(source))

    def theirs(self, name: str, **more: Any) -> Tensor:
        """Return curvlinops' operator of this name as a matrix."""
        loss, parameters = nn.CrossEntropyLoss(), list(self.model.parameters())
        kind = getattr(curvlinops, f"{name}LinearOperator")
        operator = kind(self.model, loss, parameters, self.data, **more)
        return operator @ torch.eye(sum(p.numel() for p in parameters), dtype=torch.float64)

    def inverses(self, curvature: Curvature, name: str, **more: Any) -> tuple[Tensor, Tensor]:
        """Return the damped inverses of both."""
        operator = self.ours(curvature)
        assert isinstance(operator, KroneckerOperator)
        eye = torch.eye(operator.size, dtype=torch.float64)
        found = operator.inverse_apply(eye, DAMPING)
        return found, torch.linalg.inv(self.theirs(name, **more) + DAMPING * eye)


CASES: dict[str, Callable[[], _Case]] = {
    "vectors": lambda: _Case(_perceptron, (6,)),
    "sequences": lambda: _Case(_Pooled, (4, 3)),
}


def _checks(title: str, case: Callable[[], _Case]) -> Iterator[Check]:
    matrices = (
        ("Hessian", ExactHessian(), "Hessian"),
        ("Gauss-Newton", GaussNewton(), "GGN"),
        ("empirical Fisher", EmpiricalFisher(), "EF"),
    )
    for what, curvature, name in matrices:
        yield Check(
            f"{what}, {title}",
            lambda c=curvature, n=name: (case().ours(c).dense(), case().theirs(n)),
        )
    joint = {"separate_weight_and_bias": False}
    empirical = {"fisher_type": FisherType.EMPIRICAL, **joint}
    exact = {"fisher_type": FisherType.TYPE2, **joint}
    for what, kind, name in (("K-FAC", KFAC, "KFAC"), ("EK-FAC", EKFAC, "EKFAC")):
        yield Check(
            f"{what}, empirical, {title}",
            lambda k=kind, n=name: (
                case().ours(k("empirical")).dense(),
                case().theirs(n, **empirical),
            ),
        )
        yield Check(
            f"{what}, damped inverse, {title}",
            lambda k=kind, n=name: case().inverses(k("empirical"), n, **empirical),
        )
        yield Check(
            f"{what}, {DRAWS:,} draws of labels, {title}",
            lambda k=kind, n=name: (
                case().ours(k(draws=DRAWS)).dense(),
                case().theirs(n, **exact),
            ),
            SAMPLING,
        )


CHECKS = tuple(check for title, case in CASES.items() for check in _checks(title, case))
