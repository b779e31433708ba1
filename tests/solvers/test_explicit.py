"""Explicit in blocks: of rows and of products, whatever cuts the parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headwater.curvature import Hessian, RowOperator
from headwater.gradients import GradientCapture, Gradients
from headwater.solvers import Explicit
from tests import reference
from tests.problems import PROBLEMS
from tests.systems import Matrix, gradients_of, in_blocks, random, row_operator


def _cut(matrix: Tensor, places: list[Tensor]) -> Tensor:
    """Return a matrix with zeros outside of diagonal blocks."""
    kept = torch.zeros_like(matrix)
    for where in places:
        kept[where[:, None], where] = matrix[where[:, None], where]
    return kept


CUTS = {1: [20], 3: [7, 7, 6], (2, 15, 3): [2, 15, 3], 20: [1] * 20}


@pytest.mark.parametrize("blocks", CUTS, ids=str)
@pytest.mark.parametrize("made_of", ["rows", "products"])
def test_blocks_are_those_of_the_dense_matrix(blocks, made_of: str) -> None:
    rows, rhs = row_operator(), random(3, 20, seed=2)
    g = gradients_of(rows).dense()
    matrix = reference.fisher(g, rows.scale)
    operator = rows if made_of == "rows" else Matrix(matrix)
    solver = Explicit(0.1, blocks)
    state = solver.prepare(operator)
    assert [len(block) for block in state.values()] == CUTS[blocks]
    assert all(block.dtype == torch.float64 for block in state.values())
    cut = _cut(matrix, list(torch.arange(20).split(CUTS[blocks])))
    inverse = reference.damped_inverse(cut, 0.1)
    solution = solver.solve(operator, state, rhs)
    assert torch.allclose(solution.value, rhs @ inverse, rtol=1e-9, atol=1e-10)
    assert bool(solution.converged.all())
    assert float(solution.residual.max()) < 1e-13
    for power, wanted in ((1, g @ inverse @ g.T), (2, g @ inverse @ inverse @ g.T)):
        found = solver.quadratic(operator, state, rows.source, power)
        assert torch.allclose(found, wanted.diagonal(), rtol=1e-9)


@pytest.mark.parametrize("name", ["mlp", "mixed", "tied weights", "transformer block"])
def test_layers_are_the_groups_of_the_gradients(name: str) -> None:
    problem = PROBLEMS[name]()
    task = problem.task()
    g = GradientCapture(task.bind(), task.loss)(problem.train)
    operator = RowOperator(in_blocks(g, 4), torch.ones(problem.n))
    solver = Explicit(0.3, "layers")
    state = solver.prepare(operator)
    assert len(state) == len(g.scheme.groups)
    places = [torch.cat([torch.arange(s.start, s.stop) for s in c]) for c in g.scheme.columns]
    matrix = _cut(reference.fisher(g.dense()), places)
    solved = solver.solve_gradients(operator, state, g)
    wanted = g.dense() @ reference.damped_inverse(matrix, 0.3)
    assert torch.allclose(solved["vectors"], wanted, rtol=1e-9, atol=1e-12)
    projected = RowOperator.of(Gradients.of_vectors(random(9, 6), widths=(2, 4)))
    assert [len(block) for block in Explicit(0.1, "layers").prepare(projected).values()] == [2, 4]


def test_a_matrix_is_factorised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    count, plain = [], torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda a: count.append(1) or plain(a))
    monkeypatch.setattr("headwater.memory.LARGE", {"cpu": 40})
    operator, solver = row_operator(), Explicit(0.1, 2)
    state = solver.prepare(operator)
    solver.quadratic(operator, state, operator.source, 2)
    solver.solve_gradients(operator, state, gradients_of(operator))
    assert len(count) == 4, "two blocks, once for each call"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dimension", [13, 30])
def test_rows_that_span_too_little_are_refused(dimension: int, seed: int) -> None:
    operator = RowOperator.of(Gradients.of_vectors(random(12, dimension, seed=seed)))
    solver = Explicit(0.0)
    with pytest.raises(ValueError, match=rf"singular matrix of size {dimension} with damping 0"):
        solver.solve(operator, solver.prepare(operator), random(1, dimension))
    cut = Explicit(0.0, blocks=6)  # few enough dimensions in each
    assert bool(cut.solve(operator, cut.prepare(operator), random(1, dimension)).converged.all())


def test_blocks_that_mean_nothing_are_refused() -> None:
    for blocks in (0, -1, (4, 0)):
        with pytest.raises(ValueError, match="blocks must be > 0"):
            Explicit(0.1, blocks)
    with pytest.raises(ValueError, match="must be a number, sizes or 'layers', got 'layer'"):
        Explicit(0.1, "layer")
    with pytest.raises(ValueError, match="must hold at least one size"):
        Explicit(0.1, ())
    for blocks in (21, (19, 2), (19,)):
        with pytest.raises(ValueError, match="blocks must cut 20 dimensions into parts"):
            Explicit(0.1, blocks).prepare(row_operator())
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    operator = Hessian(task.bind(), task.loss, [problem.train])
    with pytest.raises(ValueError, match=r"made of gradients, got Hessian; pass the sizes"):
        Explicit(0.1, "layers").prepare(operator)
