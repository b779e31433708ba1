"""A projection keeps inner products on average, and is one matrix whatever it is asked for."""

from __future__ import annotations

import math

import pytest
import torch

from headwater import projections
from headwater.projections import Gaussian, Projection, Rademacher
from headwater.projections.tiles import TILE
from tests import reference

KINDS = {"Rademacher": Rademacher, "Gaussian": Gaussian}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Projection]:
    return KINDS[request.param]


def _vectors(n: int, p: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, p, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_every_projection_is_tested() -> None:
    interface = {
        "GradientProjection", "LayerwiseProjection", "LearnedProjection", "Projection", "RandomMatrix",
    }  # fmt: skip
    learned = {"ArnoldiProjection"}  # tests/attributors/test_trak_options.py
    structured = {"GraSS", "RandomMask", "SparseJL"}  # test_structured.py
    layerwise = {"FactGraSS", "Kronecker"}  # test_layerwise.py
    assert set(projections.__all__) - interface - learned == set(KINDS) | structured | layerwise
    with pytest.raises(AttributeError, match="no attribute 'Rademacher2'"):
        _ = projections.Rademacher2


@pytest.mark.parametrize("p", [1, 50, TILE, TILE + 1, 2 * TILE + 70])
def test_the_product_is_that_of_the_whole_matrix(kind, p: int) -> None:
    projection, x = kind(dimension=5, seed=11), _vectors(3, p)
    matrix = reference.projection_matrix(projection, p)
    assert torch.allclose(projection(x), x @ matrix.T, rtol=1e-10, atol=1e-10)


def test_the_rademacher_matrix_is_the_one_that_is_documented() -> None:
    projection = Rademacher(dimension=3, seed=5, checkpoint=2)
    p = TILE + 9
    drawn_again = reference.rademacher_matrix(3, p, seed=5, checkpoint=2)
    assert torch.allclose(reference.projection_matrix(projection, p), drawn_again, atol=1e-15)


def test_inner_products_are_kept_in_expectation(kind) -> None:
    # Var⟨Px, Py⟩ ≤ (‖x‖²‖y‖² + ⟨x,y⟩²)/k; the mean over s seeds has 1/s of it: 4 standard errors.
    seeds, k, x = 400, 8, _vectors(4, 60)
    mean = torch.zeros(4, 4, dtype=torch.float64)
    for seed in range(seeds):
        projected = kind(dimension=k, seed=seed)(x)
        mean += projected @ projected.T / seeds
    wanted = x @ x.T
    squares = wanted.diagonal()
    deviation = ((torch.outer(squares, squares) + wanted**2) / (k * seeds)).sqrt()
    worst = float(((mean - wanted) / deviation).abs().max())
    assert worst < 4.0, f"{kind.__name__}: off by {worst:.1f} standard errors; a wrong scale?"


def test_the_entries_have_mean_0_and_variance_1_over_k(kind) -> None:
    matrix = reference.projection_matrix(kind(dimension=16, seed=3), 5000)
    count = matrix.numel()
    assert abs(float(matrix.mean())) < 4 / math.sqrt(16 * count)
    assert float(matrix.square().mean()) == pytest.approx(1 / 16, rel=4 * math.sqrt(2 / count))


def test_rademacher_entries_are_signs_over_the_root_of_k() -> None:
    matrix = reference.projection_matrix(Rademacher(dimension=7), 100)
    assert torch.allclose(matrix.abs(), torch.full_like(matrix, 7**-0.5), rtol=1e-15)
    assert len(torch.unique(torch.sign(matrix))) == 2


@pytest.mark.parametrize("sizes", [[1] * 6, [2, 4], [5, 1]], ids=str)
def test_the_chunking_of_rows_changes_nothing(kind, sizes: list[int]) -> None:
    projection, x = kind(dimension=5, seed=1), _vectors(6, TILE + 40)
    parts = torch.cat([projection(rows) for rows in torch.split(x, sizes)])
    assert torch.allclose(parts, projection(x), rtol=1e-12, atol=1e-12)


def test_a_longer_vector_has_the_same_first_columns(kind) -> None:
    projection = kind(dimension=5, seed=1)
    short = reference.projection_matrix(projection, 30)
    long = reference.projection_matrix(projection, TILE + 30)
    assert torch.equal(long[:, :30], short)


def test_checkpoints_and_seeds_have_matrices_of_their_own(kind) -> None:
    x = _vectors(2, 40)
    projection = kind(dimension=6, seed=1)
    others = [
        projection.for_checkpoint(1),
        projection.for_checkpoint(2),
        kind(dimension=6, seed=2),
    ]
    found = [projection(x), *(other(x) for other in others)]
    for i, a in enumerate(found):
        for b in found[:i]:
            assert not torch.allclose(a, b), "two projections are the same matrix"
    assert torch.equal(projection.for_checkpoint(0)(x), found[0])
    assert others[0] == kind(dimension=6, seed=1, checkpoint=1)


def test_tiles_are_not_repeated(kind) -> None:
    matrix = reference.projection_matrix(kind(dimension=4), 2 * TILE)
    assert not torch.equal(matrix[:, :TILE], matrix[:, TILE:])


def test_the_same_seed_gives_the_same_result_at_any_time(kind) -> None:
    x = _vectors(2, 40)
    torch.manual_seed(0)
    first = kind(dimension=6, seed=1)(x)
    torch.manual_seed(1)
    assert torch.equal(kind(dimension=6, seed=1)(x), first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_of_the_vectors_is_kept(kind, dtype: torch.dtype) -> None:
    x = _vectors(3, 50)
    found = kind(dimension=4)(x.to(dtype))
    assert found.dtype == dtype
    assert torch.allclose(found.double(), kind(dimension=4)(x), rtol=1e-5, atol=1e-5)


def test_the_projection_is_linear(kind) -> None:
    projection, x = kind(dimension=5), _vectors(2, 70)
    together = projection(2.0 * x[:1] - 3.0 * x[1:])
    apart = 2.0 * projection(x[:1]) - 3.0 * projection(x[1:])
    assert torch.allclose(together, apart, rtol=1e-12, atol=1e-12)


def test_the_vectors_are_left_untouched(kind) -> None:
    x = _vectors(2, 40)
    before = x.clone()
    kind(dimension=5)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dimension", [0, -3])
def test_a_dimension_must_be_positive(kind, dimension: int) -> None:
    with pytest.raises(ValueError, match=f"dimension must be > 0, got {dimension}"):
        kind(dimension=dimension)
