"""Agreement with curvlinops: Hessian, Gauss-Newton, Fisher, K-FAC and EK-FAC in float64.

Run with curvlinops-for-pytorch 3 installed: ``python -m benchmarks.parity.curvlinops_parity``.
One line a check; the first disagreement is an AssertionError.
"""

from __future__ import annotations

import curvlinops
import torch
from curvlinops.kfac import FisherType
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.attributors.source import CapturedSource
from headwater.curvature import (
    EKFAC,
    KFAC,
    Curvature,
    EmpiricalFisher,
    ExactHessian,
    FullGaussNewton,
    KroneckerOperator,
    LinearOperator,
)

DAMPING = 0.05
Data = list[tuple[Tensor, Tensor]]


class Pooled(nn.Module):
    """Linear layers on 4 positions, and one on their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, 3) of inputs (n, 4, 3)."""
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))).mean(1))


def ours(model: nn.Module, data: Data, curvature: Curvature) -> LinearOperator:
    """Return headwater's operator."""
    task = AttributionTask(model, targets.cross_entropy)
    source = CapturedSource(task, 0, data, curvature.function(task), lambda g, _: g)
    return curvature.operator(source, curvature.estimate(source))


def theirs(name: str, model: nn.Module, data: Data, **more: object) -> Tensor:
    """Return curvlinops' operator of this name as a matrix."""
    loss, parameters = nn.CrossEntropyLoss(reduction="mean"), list(model.parameters())
    operator = getattr(curvlinops, f"{name}LinearOperator")(model, loss, parameters, data, **more)
    size = sum(p.numel() for p in parameters)
    return operator @ torch.eye(size, dtype=torch.float64)


def check(what: str, found: Tensor, wanted: Tensor, tolerance: float = 1e-10) -> None:
    """Assert that two matrices agree, and say how well.

    Raises:
        AssertionError: if they do not.
    """
    error = float((found - wanted).norm() / wanted.norm())
    assert error < tolerance, f"{what}: off by {error:.1e}, more than {tolerance:.0e}"
    print(f"{what:44s} off by {error:.1e}")


def compare(name: str, model: nn.Module, data: Data) -> None:
    """Compare all curvatures of one model."""
    for title, curvature, other in (
        ("Hessian", ExactHessian(), "Hessian"),
        ("Gauss-Newton", FullGaussNewton(), "GGN"),
        ("empirical Fisher", EmpiricalFisher(), "EF"),
    ):
        check(f"{name}: {title}", ours(model, data, curvature).dense(), theirs(other, model, data))
    joint = {"separate_weight_and_bias": False}
    for title, kind, other in (("K-FAC", KFAC, "KFAC"), ("EK-FAC", EKFAC, "EKFAC")):
        operator = ours(model, data, kind(labels="empirical"))
        assert isinstance(operator, KroneckerOperator)
        wanted = theirs(other, model, data, fisher_type=FisherType.EMPIRICAL, **joint)
        check(f"{name}: {title}, empirical", operator.dense(), wanted)
        eye = torch.eye(operator.size, dtype=torch.float64)
        inverse = operator.inverse_apply(eye, DAMPING)
        check(f"{name}: {title}, damped inverse", inverse, torch.linalg.inv(wanted + DAMPING * eye))
        sampled = ours(model, data, kind(draws=1000)).dense()
        exact = theirs(other, model, data, fisher_type=FisherType.TYPE2, **joint)
        check(f"{name}: {title}, 1000 draws of labels", sampled, exact, 0.03)


def main() -> None:
    """Compare a multilayer perceptron and a model of sequences."""
    torch.manual_seed(0)
    labels = torch.randint(3, (12,))
    perceptron = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4, bias=False), nn.Tanh())
    perceptron.append(nn.Linear(4, 3))
    for name, model, inputs in (
        ("perceptron", perceptron, torch.randn(12, 6, dtype=torch.float64)),
        ("sequences", Pooled(), torch.randn(12, 4, 3, dtype=torch.float64)),
    ):
        data = [(inputs[:7], labels[:7]), (inputs[7:], labels[7:])]
        compare(name, model.double().eval(), data)


if __name__ == "__main__":
    main()
