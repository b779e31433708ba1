"""Curvature made of rows, against sums of outer products and closed forms."""

from __future__ import annotations

import weakref

import pytest
import torch

from headwater import targets
from headwater.curvature import EmpiricalFisher, Hessian, MarginGaussNewton, RowOperator
from headwater.gradients import GradientCapture, Gradients
from tests import reference
from tests.problems import PROBLEMS, Logistic, Problem
from tests.systems import gradients_of, in_blocks, random, row_operator

CLASSIFIERS = ["logistic", "mlp", "mlp with frozen layer", "shared linear", "weight outside"]


def _operator(problem: Problem, curvature) -> tuple[RowOperator, torch.Tensor, torch.Tensor]:
    """Return the operator, its rows by a loop of autograd, and its scales."""
    task = problem.task(target=None)
    function = curvature.function(task)
    gradients = GradientCapture(task.bind(), function)(problem.train)
    scale = curvature.row_scale(gradients.values)
    rows = reference.per_sample_gradients(problem.model, function, problem.train)
    return RowOperator(in_blocks(gradients, 4), scale), rows, scale


@pytest.fixture(params=[EmpiricalFisher(), MarginGaussNewton()], ids=["fisher", "gauss-newton"])
def curvature(request: pytest.FixtureRequest):
    return request.param


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_products_and_gram_equal_the_sum_of_outer_products(name: str, curvature) -> None:
    operator, rows, scale = _operator(PROBLEMS[name](), curvature)
    wanted = reference.fisher(rows, scale)
    assert torch.allclose(operator.dense(), wanted, rtol=1e-9, atol=1e-12), name
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(operator.size, 2, generator=generator, dtype=torch.float64)
    assert torch.allclose(operator @ v, wanted @ v, rtol=1e-9, atol=1e-12)
    scaled = rows * scale[:, None]
    assert torch.allclose(operator.gram(), scaled @ scaled.T, rtol=1e-9, atol=1e-12)
    assert torch.allclose(
        operator.times(operator.scheme.split(v.T)), scaled @ v, rtol=1e-9, atol=1e-12
    )
    c = torch.randn(len(rows), 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(operator.vectors(c), c.T @ scaled, rtol=1e-9, atol=1e-12)


def test_the_gram_matrix_has_the_eigenvalues_of_the_curvature(curvature) -> None:
    operator, _, _ = _operator(PROBLEMS["mlp"](), curvature)
    of_gram = torch.linalg.eigvalsh(operator.gram())
    of_curvature = torch.linalg.eigvalsh(operator.dense())[-operator.n :] * operator.n
    assert torch.allclose(of_gram, of_curvature, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_loss_gradients_follow_from_the_rows(name: str, curvature) -> None:
    problem = PROBLEMS[name]()
    task = problem.task(target=None)
    gradients = GradientCapture(task.bind(), curvature.function(task))(problem.train)
    found = curvature.loss_scale(gradients.values)[:, None] * gradients.dense()
    wanted = reference.per_sample_gradients(problem.model, task.loss, problem.train)
    assert torch.allclose(found, wanted, rtol=1e-8, atol=1e-12), f"{name}: ∇ℓ ≠ σ g"


def test_with_two_classes_gauss_newton_is_the_hessian_of_logistic_regression() -> None:
    logistic = Logistic(n=12, classes=2)
    problem = logistic.problem()
    found = _operator(problem, MarginGaussNewton())[0].dense()
    assert torch.allclose(found, logistic.hessian(logistic.weight), rtol=1e-9, atol=1e-12)
    task = problem.task()
    exact = Hessian(task.bind(), task.loss, [problem.train]).dense()
    assert torch.allclose(found, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_gradients(dtype: torch.dtype) -> None:
    operator = RowOperator.of(Gradients.of_vectors(torch.eye(2, dtype=dtype)), torch.ones(2))
    assert operator.dtype == dtype
    assert operator.dense().dtype == dtype
    assert operator.gram().dtype == torch.float64


@pytest.mark.parametrize("margin", [-800.0, -40.0, 0.0, 40.0, 800.0])
def test_the_scales_are_finite_at_every_margin(margin: float) -> None:
    m = torch.tensor([margin])
    rho, sigma = MarginGaussNewton().row_scale(m), MarginGaussNewton().loss_scale(m)
    assert bool(torch.isfinite(rho).all())
    assert float(rho) > 0
    assert bool(torch.isfinite(1 / rho.square()).all())
    assert -1.0 <= float(sigma) <= 0.0


def test_gauss_newton_refuses_a_loss_that_is_no_cross_entropy() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task(loss=lambda model, batch: model(batch[0]).square().sum(1))
    with pytest.raises(ValueError, match="must be the cross-entropy that belongs to the margin"):
        MarginGaussNewton().check(task.bind(), task, problem.train)
    EmpiricalFisher().check(task.bind(), task, problem.train)


def test_gauss_newton_accepts_a_margin_of_ones_own() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()

    def own(model, batch):
        return targets.margin(model, batch)

    MarginGaussNewton(margin=own).check(task.bind(), task, problem.train)
    with pytest.raises(ValueError, match="belongs to the margin"):
        MarginGaussNewton(margin=targets.logit).check(task.bind(), task, problem.train)


def test_a_scale_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scale must have shape \(2,\), got \(3,\)"):
        RowOperator.of(Gradients.of_vectors(torch.eye(2)), torch.ones(3))


def test_the_trace_is_that_of_the_matrix(curvature) -> None:
    operator, rows, scale = _operator(PROBLEMS["mlp"](), curvature)
    assert operator.trace() == pytest.approx(float(reference.fisher(rows, scale).trace()))


@pytest.mark.parametrize("budget", [1, 3000, 10**9])
@pytest.mark.parametrize("size", [1, 5, 12])
def test_neither_blocks_nor_memory_change_the_gram_matrix(budget: int, size: int) -> None:
    whole = row_operator()
    rows = gradients_of(whole).dense() * whole.scale[:, None]
    operator = RowOperator(in_blocks(gradients_of(whole), size), whole.scale, budget=budget)
    assert torch.allclose(operator.gram(), rows @ rows.T, rtol=1e-12)
    picked = torch.tensor([0, 4, 5, 11])
    assert torch.equal(operator.pick(picked).dense(), gradients_of(whole).dense()[picked])


def test_no_more_than_two_blocks_are_in_memory() -> None:
    alive: weakref.WeakSet[Gradients] = weakref.WeakSet()
    most = [0]
    whole = gradients_of(row_operator())

    class Source:
        n = 12

        def train_blocks(self):
            for start in range(0, 12, 2):
                block = whole[torch.arange(start, start + 2)]
                alive.add(block)
                most[0] = max(most[0], len(alive))
                yield block
                del block

    operator = RowOperator(Source(), torch.ones(12), budget=1)
    operator.gram(), operator.trace(), operator.apply(random(2, 20)), operator.times(whole)
    assert most[0] <= 3, "two blocks, and the next one while the last is let go"


def test_float32_products_are_summed_in_float64() -> None:
    # Groups of very different size: a sum in float32 would lose the small one.
    vectors = torch.tensor([[1e4, 1e-2], [1e4, 2e-2]])
    operator = RowOperator.of(Gradients.of_vectors(vectors, widths=(1, 1)))
    wanted = vectors[:, :1] @ vectors[:, :1].T + (vectors[:, 1:] @ vectors[:, 1:].T).double()
    assert torch.allclose(operator.gram(), wanted, rtol=1e-13)
    assert operator.gram()[0, 1] > operator.gram()[0, 0]


def test_gradients_of_other_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same groups of parameters, .*; capture both"):
        row_operator().times(Gradients.of_vectors(random(2, 20), widths=(10, 10)))
