"""Inner products, norms, projections and slices agree with the dense gradients, by every route."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.gradients import (
    DenseGradients,
    FactoredGradients,
    GradientCapture,
    LinearFactors,
    concatenate,
)
from headwater.gradients import linear as linear_module
from headwater.projections import Gaussian, Rademacher
from tests import reference
from tests.problems import PROBLEMS, Problem, split


def _captured(problem: Problem) -> tuple[FactoredGradients, FactoredGradients]:
    task = problem.task()
    model = task.bind()
    return (
        GradientCapture(model, task.loss)(problem.train),
        GradientCapture(model, task.target)(problem.test),
    )


@pytest.fixture(params=PROBLEMS)
def pair(request: pytest.FixtureRequest) -> tuple[FactoredGradients, FactoredGradients]:
    return _captured(PROBLEMS[request.param]())


def _close(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_inner_products_equal_those_of_dense_gradients(pair) -> None:
    train, test = pair
    assert _close(train.inner(test), train.dense() @ test.dense().T)
    assert _close(train.inner(train), train.dense() @ train.dense().T)


def test_inner_products_of_factored_and_dense_gradients_mix(pair) -> None:
    train, test = pair
    wanted = train.dense() @ test.dense().T
    dense_train, dense_test = DenseGradients(train.dense()), DenseGradients(test.dense())
    assert _close(train.inner(dense_test), wanted)
    assert _close(dense_train.inner(test), wanted)
    assert _close(dense_train.inner(dense_test), wanted)


def test_squared_norms(pair) -> None:
    for gradients in pair:
        wanted = gradients.dense().square().sum(1)
        assert _close(gradients.squared_norms(), wanted)
        assert _close(DenseGradients(gradients.dense()).squared_norms(), wanted)


@pytest.mark.parametrize("kind", [Rademacher, Gaussian])
def test_projected_gradients_are_the_projection_of_the_dense_ones(pair, kind) -> None:
    train, _ = pair
    projection = kind(dimension=6, seed=3)
    matrix = reference.projection_matrix(projection, train.dimension)
    found = train.project(projection)
    assert _close(found.dense(), train.dense() @ matrix.T)
    assert _close(DenseGradients(train.dense()).project(projection).dense(), found.dense())
    assert _close(found.values, train.values), "the values must survive the projection"


def test_dense_blocks_are_the_dense_gradients(pair) -> None:
    train, _ = pair
    assert _close(torch.cat(list(train.dense_blocks(workspace=2 * train.dimension))), train.dense())


def test_slices_select_samples(pair) -> None:
    for gradients in (pair[0], DenseGradients(pair[0].dense(), pair[0].values)):
        for rows in (slice(2, 5), torch.tensor([4, 0])):
            part = gradients[rows]
            assert _close(part.dense(), gradients.dense()[rows])
            assert _close(part.values, gradients.values[rows])
        assert len(gradients[3:3]) == 0


def test_tensors_and_back(pair) -> None:
    for gradients in (pair[0], DenseGradients(pair[0].dense(), pair[0].values)):
        again = gradients.with_tensors(gradients.tensors())
        assert torch.equal(again.dense(), gradients.dense())
        assert all(len(t) == len(gradients) for t in gradients.tensors().values())


def test_concatenation_of_blocks_with_different_numbers_of_positions() -> None:
    problem = PROBLEMS["sequence"]()
    task = problem.task()
    capture = GradientCapture(task.bind(), task.loss)
    x, y = problem.train
    batches = [(x[:4], y[:4]), (x[4:6, :2], y[4:6, :2]), (x[6:, :5], y[6:, :5])]
    blocks = [capture(batch) for batch in batches]
    joined = concatenate(blocks)
    wanted = torch.cat([block.dense() for block in blocks])
    assert _close(joined.dense(), wanted)
    assert _close(joined.inner(joined), wanted @ wanted.T)
    assert _close(blocks[0].inner(blocks[1]), blocks[0].dense() @ blocks[1].dense().T)
    assert _close(joined.squared_norms(), wanted.square().sum(1))


def test_concatenation_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        concatenate([])


# The two routes of a layer's inner product -----------------------------------------------------


def _factors(n: int, t: int, d_in: int, d_out: int, *, bias: bool, seed: int) -> LinearFactors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, t, d_in, generator=generator, dtype=torch.float64)
    e = torch.randn(n, t, d_out, generator=generator, dtype=torch.float64)
    return LinearFactors(a, e, bias)


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize(
    ("shape", "route"),
    [
        ((1, 1, 20, 20), "factors"),
        ((2, 3, 20, 20), "factors"),
        ((1, 3, 20, 20), "factors"),
        ((20, 20, 2, 2), "materialised"),
        ((20, 3, 1, 1), "materialised"),
    ],
)
def test_both_routes_of_the_inner_product_are_exact(shape, route, bias, monkeypatch) -> None:
    s, t, *widths = shape
    one = _factors(5, s, *widths, bias=bias, seed=0)
    two = _factors(4, t, *widths, bias=bias, seed=1)
    taken = []
    for name in ("_gram", "inner_dense"):
        original = getattr(LinearFactors, name)

        def spy(self, *args, original=original, name=name):
            taken.append(name)
            return original(self, *args)

        monkeypatch.setattr(LinearFactors, name, spy)
    assert _close(one.inner(two), one.dense() @ two.dense().T)
    assert set(taken) == {"_gram" if route == "factors" else "inner_dense"}
    assert _close(one.squared_norms(), one.dense().square().sum(1))


@pytest.mark.parametrize("limit", [1, 7, 10**9])
@pytest.mark.parametrize("shape", [(1, 3, 3), (2, 9, 9), (20, 2, 2)], ids=str)
def test_the_size_of_the_workspace_changes_nothing(limit, shape, monkeypatch) -> None:
    one, two = _factors(5, *shape, bias=True, seed=0), _factors(4, *shape, bias=True, seed=1)
    monkeypatch.setattr(linear_module, "WORKSPACE", limit)
    monkeypatch.setattr(linear_module, "CACHE", limit)
    monkeypatch.setattr(linear_module, "BLOCK", limit)
    assert _close(one.inner(two), one.dense() @ two.dense().T)
    assert _close(one.inner_dense(two.dense()), one.dense() @ two.dense().T)
    assert _close(one.squared_norms(), one.dense().square().sum(1))


def test_the_dense_form_is_the_sum_of_outer_products() -> None:
    factors = _factors(3, 4, 2, 5, bias=True, seed=0)
    for i, row in enumerate(factors.dense()):
        pairs = list(zip(factors.errors[i], factors.inputs[i], strict=True))
        weight = sum(torch.outer(e, a) for e, a in pairs)
        assert _close(row, torch.cat([weight.flatten(), factors.errors[i].sum(0)]))


# Refusals --------------------------------------------------------------------------------------


def test_gradients_of_other_layers_are_refused() -> None:
    problem = PROBLEMS["mlp"]()
    whole, _ = _captured(problem)
    task = problem.task(layers=["head"])
    part = GradientCapture(task.bind(), task.loss)(problem.train)
    with pytest.raises(ValueError, match="same parameters"):
        whole.inner(part)


def test_projected_and_whole_gradients_do_not_mix() -> None:
    train, test = _captured(PROBLEMS["mlp"]())
    projected = test.project(Rademacher(dimension=4))
    with pytest.raises(ValueError, match="cannot be mixed"):
        train.inner(projected)


def test_vectors_of_a_wrong_rank_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, p\)"):
        DenseGradients(torch.zeros(3))


def test_batches_of_one_sample_join_into_the_same_gradients() -> None:
    problem = PROBLEMS["mixed"]()
    task = problem.task()
    capture = GradientCapture(task.bind(), task.loss)
    joined = concatenate([capture(batch) for batch in split(problem.train, 1)])
    assert _close(joined.dense(), capture(problem.train).dense())
