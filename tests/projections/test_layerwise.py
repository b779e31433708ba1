"""Layer-wise projections equal their explicit matrices, and draw every side of every layer anew."""

from __future__ import annotations

import pytest
import torch

from headwater.gradients import LinearFactors, concatenate
from headwater.projections import FactGraSS, Gaussian, GraSS, Kronecker, Rademacher
from headwater.projections.layerwise import IN, OUT
from tests import reference, reference_projections
from tests.problems import PROBLEMS
from tests.projections.inner_products import captured, worst_deviation

KINDS = {
    "Kronecker": lambda seed=0: Kronecker(3, 2, seed=seed),
    "Kronecker Gaussian": lambda seed=0: Kronecker(2, 4, Gaussian, seed=seed),
    "Kronecker of everything": lambda seed=0: Kronecker(100, 100, seed=seed),
    "FactGraSS": lambda seed=0: FactGraSS(3, blowup=2, seed=seed),
    "FactGraSS 2": lambda seed=0: FactGraSS(5, blowup=3, nonzeros=2, seed=seed),
    "FactGraSS of everything": lambda seed=0: FactGraSS(1000, seed=seed),
}
DENSE = {"weight outside": ["used"], "positions first": ["inside"], "tied weights": ["out"]}
NAMES = ["mlp", "sequence", "shared linear", "mixed", "mlp with frozen layer", *DENSE]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest):
    return KINDS[request.param]


@pytest.mark.parametrize("name", NAMES)
def test_the_product_is_that_of_the_whole_matrix(kind, name: str) -> None:
    problem = PROBLEMS[name]()
    projection = kind(seed=7).for_checkpoint(2)
    found = captured(problem).project(projection)
    model = reference.at(problem.model, problem.model.state_dict())
    rows = reference.per_sample_gradients(model, problem.loss, problem.train)
    blocks = reference_projections.layerwise_matrices(projection, model, DENSE.get(name, ()))
    assert found.blocks == tuple(len(block) for block in blocks)
    assert torch.allclose(found.dense(), rows @ torch.cat(blocks).T, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["mlp", "mixed"])
def test_inner_products_are_kept_in_expectation(kind, name: str) -> None:
    gradients = captured(PROBLEMS[name]())[:3]
    wanted = gradients.inner(gradients)
    worst = worst_deviation(
        lambda seed: gradients.project(kind(seed=seed)).dense(), wanted, seeds=300
    )
    everything = kind() in (Kronecker(100, 100), FactGraSS(1000))
    assert worst < (100 if everything else 4.5), f"off by {worst:.1f} standard errors"
    if everything:
        whole = gradients.project(kind())
        assert torch.allclose(whole.inner(whole), wanted, rtol=1e-10)


def test_every_side_of_every_layer_is_drawn_anew() -> None:
    # Equal shapes everywhere: a shared seed would give equal matrices.
    x = torch.eye(9, dtype=torch.float64)
    projection = Kronecker(3, 3, seed=1)
    matrices = [
        p.side(name, side)(x)
        for p in (projection, projection.for_checkpoint(1), Kronecker(3, 3, seed=2))
        for name in ("first", "second", "firs")
        for side in (IN, OUT)
    ]
    for i, a in enumerate(matrices):
        assert not any(torch.equal(a, b) for b in matrices[:i]), "two sides share a matrix"
    masks = FactGraSS(4, seed=1).masks("first", 50, 50)
    assert not torch.equal(masks[0].coordinates(50), masks[1].coordinates(50))


def test_a_layer_does_not_depend_on_the_others() -> None:
    whole = captured(PROBLEMS["mlp"]()).project(Kronecker(2, 2, seed=1))
    frozen = captured(PROBLEMS["mlp with frozen layer"]()).project(Kronecker(2, 2, seed=1))
    assert whole.blocks == (4, 4, 4)
    assert torch.allclose(whole.dense()[:, 4:], frozen.dense(), rtol=1e-12)


def test_the_bias_is_one_more_input() -> None:
    a, e = torch.randn(4, 3, 6, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)
    ones = torch.cat([a, torch.ones(4, 3, 1, dtype=torch.float64)], 2)
    for projection in (Kronecker(2, 2, seed=3), FactGraSS(4, seed=3)):
        inside = projection.of_layer("layer", LinearFactors(a, e, bias=True))
        outside = projection.of_layer("layer", LinearFactors(ones, e, bias=False))
        assert torch.equal(inside, outside)


def test_long_sequences_and_many_samples_change_nothing(monkeypatch) -> None:
    from headwater.projections import fact_grass

    factors = LinearFactors(torch.randn(9, 4, 30), torch.randn(9, 4, 20), bias=True)
    wanted = FactGraSS(8, seed=3).of_layer("layer", factors)
    monkeypatch.setattr(fact_grass, "WORKSPACE", 60)
    assert torch.allclose(FactGraSS(8, seed=3).of_layer("layer", factors), wanted, atol=1e-5)


def test_blocks_survive_slicing_and_joining() -> None:
    projected = captured(PROBLEMS["mlp"]()).project(Kronecker(2, 2))
    joined = concatenate([projected[:4], projected[4:]])
    assert joined.blocks == projected.blocks == (4, 4, 4)
    assert torch.equal(joined.dense(), projected.dense())


def test_vectors_are_refused(kind) -> None:
    with pytest.raises(
        ValueError, match=r"needs the factors of each layer, got vectors of length 9"
    ):
        kind()(torch.ones(2, 9))
    projected = captured(PROBLEMS["mlp"]()).project(Rademacher(4))
    with pytest.raises(ValueError, match="use GraSS or Rademacher"):
        projected.project(kind())


@pytest.mark.parametrize("kind", [Rademacher, GraSS])
def test_projected_gradients_can_be_projected_again(kind) -> None:
    projected = captured(PROBLEMS["mlp"]()).project(Rademacher(40))
    again = projected.project(kind(4))
    assert torch.allclose(again.dense(), kind(4)(projected.dense()))


def test_dimensions_must_be_positive() -> None:
    with pytest.raises(ValueError, match="dimension_in must be > 0, got 0"):
        Kronecker(0, 2)
    with pytest.raises(ValueError, match="dimension_out must be > 0, got -1"):
        Kronecker(2, -1)
    with pytest.raises(ValueError, match="dimension must be > 0, got 0"):
        FactGraSS(0)
    with pytest.raises(ValueError, match="blowup must be > 0, got 0"):
        FactGraSS(4, blowup=0)
