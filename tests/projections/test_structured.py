"""Sparse projections and masks: their matrix is the documented one, and inner products are kept."""

from __future__ import annotations

import pytest
import torch

from headwater.projections import GraSS, Projection, RandomMask, SparseJL
from headwater.projections.tiles import TILE
from tests import reference_projections as twins
from tests.problems import PROBLEMS
from tests.projections.inner_products import captured, worst_deviation

KINDS = {
    "SparseJL": lambda k, seed=0, c=0: SparseJL(k, seed, c),
    "SparseJL 3": lambda k, seed=0, c=0: SparseJL(k, seed, c, nonzeros=3),
    "RandomMask": RandomMask,
    "GraSS": lambda k, seed=0, c=0: GraSS(k, seed, c, blowup=3),
    "GraSS 2": lambda k, seed=0, c=0: GraSS(k, seed, c, blowup=2, nonzeros=2),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest):
    return KINDS[request.param]


def _vectors(n: int, p: int) -> torch.Tensor:
    return torch.randn(n, p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("p", [7, 50, TILE, TILE + 1])
def test_the_product_is_that_of_the_whole_matrix(kind, p: int) -> None:
    projection, x = kind(5, 11, 2), _vectors(3, p)
    wanted = x @ twins.matrix(projection, p).T
    assert torch.allclose(projection(x), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["mlp", "sequence", "mixed", "tied weights, linear first"])
def test_factored_gradients_give_the_same_as_whole_ones(kind, name: str) -> None:
    gradients, projection = captured(PROBLEMS[name]()), kind(6, 4)
    found = gradients.project(projection)
    assert torch.allclose(found.dense(), projection(gradients.dense()), rtol=1e-10, atol=1e-12)
    assert torch.equal(found.values, gradients.values)
    assert found.blocks == ()


def test_inner_products_are_kept_in_expectation(kind) -> None:
    x = _vectors(4, 40)
    worst = worst_deviation(lambda seed: kind(12, seed)(x), x @ x.T, seeds=600)
    assert worst < 4.5, f"off by {worst:.1f} standard errors; a wrong scale?"


def test_every_column_of_a_sparse_projection_has_norm_1() -> None:
    for nonzeros in (1, 3, 5):
        matrix = SparseJL(5, 3, nonzeros=nonzeros)(torch.eye(300, dtype=torch.float64))
        assert torch.allclose(matrix.norm(dim=1), torch.ones(300, dtype=torch.float64))
        assert bool((matrix.count_nonzero(1) == nonzeros).all())
        assert len(torch.unique(matrix.count_nonzero(0))) > 1 or nonzeros == 5


def test_a_mask_keeps_scaled_coordinates_and_no_others() -> None:
    x = _vectors(3, 90)
    found = RandomMask(10, seed=2)(x)
    kept = RandomMask(10, seed=2).coordinates(90)
    assert len(torch.unique(kept)) == 10
    assert torch.allclose(found, 3.0 * x[:, kept])  # √(90/10)
    assert torch.equal(RandomMask(90)(x), x)


def test_checkpoints_and_seeds_have_maps_of_their_own(kind) -> None:
    x, projection = _vectors(2, 400), kind(6, 1)
    others = [projection, projection.for_checkpoint(1), kind(6, 2)]
    found = [p(x) for p in others]
    for i, a in enumerate(found):
        for b in found[:i]:
            assert not torch.allclose(a, b), "two projections are the same map"
    assert torch.equal(projection.for_checkpoint(0)(x), found[0])


def test_the_seed_alone_decides_and_float32_is_kept(kind) -> None:
    x = _vectors(3, 60)
    torch.manual_seed(0)
    first = kind(6, 1)(x)
    torch.manual_seed(1)
    assert torch.equal(kind(6, 1)(x), first)
    narrow = kind(6, 1)(x.float())
    assert narrow.dtype == torch.float32
    assert torch.allclose(narrow.double(), first, rtol=1e-4, atol=1e-5)
    assert torch.allclose(torch.cat([kind(6, 1)(x[:1]), kind(6, 1)(x[1:])]), first)


@pytest.mark.parametrize("dimension", [0, -3])
def test_a_dimension_must_be_positive(kind, dimension: int) -> None:
    with pytest.raises(ValueError, match=f"dimension must be > 0, got {dimension}"):
        kind(dimension)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs vectors at least as long, got 4; use a smaller"):
        RandomMask(5)(_vectors(1, 4))
    with pytest.raises(ValueError, match="nonzeros must be at most the dimension, got 4 of 3"):
        SparseJL(3, nonzeros=4)
    with pytest.raises(ValueError, match="nonzeros must be > 0"):
        SparseJL(3, nonzeros=0)
    with pytest.raises(ValueError, match="blowup must be > 0, got 0"):
        GraSS(3, blowup=0)


def test_short_vectors_are_not_masked() -> None:
    x = _vectors(2, 10)
    assert torch.equal(GraSS(5, seed=3, blowup=4)(x), SparseJL(5, seed=3)(x))
    assert issubclass(GraSS, Projection)
