"""The refit of the last layer: a stationary point, to the last digits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.attributors.softmax_regression import fit_softmax
from tests import reference_features as slow
from tests.problems import Logistic


def _data(n: int, d: int, classes: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = scale * torch.randn(n, d, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=generator)
    return x, F.one_hot(labels, classes).double()


@pytest.mark.parametrize("l2", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("shape", [(20, 3, 2), (6, 9, 4)], ids=["n > d", "n < d"])
def test_the_minimiser_is_that_of_dense_newton(shape: tuple[int, int, int], l2: float) -> None:
    x, teacher = _data(*shape)
    fitted = fit_softmax(x, teacher, l2)
    assert torch.allclose(fitted.weight, slow.refit(x, teacher, l2), rtol=1e-9, atol=1e-12)
    gradient = ((x @ fitted.weight.T).softmax(1) - teacher).T @ x / len(x) + 2 * l2 * fitted.weight
    assert fitted.gradient_norm == pytest.approx(float(gradient.norm()), abs=1e-15)
    assert fitted.gradient_norm < 1e-11


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e2])
def test_separable_samples_of_any_scale_have_a_minimiser(scale: float) -> None:
    x, _ = _data(50, 8, 3, scale)
    teacher = F.one_hot(x[:, :3].argmax(1), 3).double()
    fitted = fit_softmax(x, teacher, l2=1e-6 * scale**2)
    assert fitted.steps < 60
    right = (x @ fitted.weight.T).argmax(1) == teacher.argmax(1)
    assert bool(right.all())


def test_logistic_regression_is_the_same_problem() -> None:
    logistic = Logistic(n=40)
    teacher = F.one_hot(logistic.y, 2).double()
    fitted = fit_softmax(logistic.x, teacher, l2=logistic.l2 / 2)
    assert torch.allclose(fitted.weight, logistic.weight, rtol=1e-9)


def test_a_teacher_that_knows_nothing_gives_zero() -> None:
    x, _ = _data(10, 3, 4)
    fitted = fit_softmax(x, torch.full((10, 4), 0.25, dtype=torch.float64), l2=0.1)
    assert fitted.steps == 0
    assert not bool(fitted.weight.any())


def test_what_is_refused() -> None:
    x, teacher = _data(10, 3, 4)
    with pytest.raises(ValueError, match="l2 must be > 0, got 0"):
        fit_softmax(x, teacher, l2=0.0)
    with pytest.raises(ValueError, match=r"after 1 Newton steps; raise l2=0.001 or normalise"):
        fit_softmax(x, teacher, l2=1e-3, max_steps=1)
    with pytest.raises(ValueError, match=r"teacher must have shape \(10, any\), got \(9, 4\)"):
        fit_softmax(x, teacher[:9], l2=0.1)
    x[3, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity at sample 3"):
        fit_softmax(x, teacher, l2=0.1)
