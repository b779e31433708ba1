"""A projection of vectors is one matrix whatever it is asked for, and keeps inner products."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from headwater import memory, projections
from headwater.gradients import Gradients
from headwater.projections import Gaussian, GraSS, Rademacher, RandomMask, SparseJL
from tests import reference_projections as twins
from tests.groups import widths
from tests.problems import PROBLEMS
from tests.projections.samples import captured, gradients, worst_deviation

KINDS = {
    "Rademacher": Rademacher,
    "Gaussian": Gaussian,
    "SparseJL": SparseJL,
    "SparseJL 3": lambda k, seed=0, c=0: SparseJL(k, seed, c, nonzeros=min(3, k)),
    "RandomMask": RandomMask,
    "GraSS": lambda k, seed=0, c=0: GraSS(k, seed, c, blowup=3),
    "GraSS 2": lambda k, seed=0, c=0: GraSS(k, seed, c, blowup=2, nonzeros=min(2, k)),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest):
    return KINDS[request.param]


def _vectors(n: int, p: int) -> Tensor:
    return torch.randn(n, p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _integers(n: int, p: int) -> Tensor:
    """Vectors whose sums are exact in any order, for entries of 24 bits."""
    return torch.randint(-4, 5, (n, p), generator=torch.Generator().manual_seed(0)).double()


def test_every_projection_is_tested() -> None:
    interface = {
        "GradientProjection", "LayerwiseProjection", "Projection", "RandomMatrix",
    }  # fmt: skip
    layerwise = {"FactGraSS", "Kronecker"}  # test_layerwise.py
    tested = {type(make(2)).__name__ for make in KINDS.values()}
    assert set(projections.__all__) - interface - layerwise == tested


@pytest.mark.parametrize(("k", "p"), [(1, 1), (5, 7), (5, 50), (40, 300)])
def test_the_product_is_that_of_the_whole_matrix(kind, k: int, p: int, device) -> None:
    projection, x = kind(k, 11, 2), _vectors(3, p).to(device)
    wanted = x @ twins.matrix(projection, p).T.to(device)
    assert torch.allclose(projection(x), wanted, rtol=1e-10, atol=1e-10)
    assert torch.allclose(projection(x[:2].view(1, 2, p)), wanted[None, :2], rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(gradients(), st.sampled_from(sorted(KINDS)), st.integers(1, 6), st.integers(1, 200))
def test_gradients_of_any_form_give_what_their_vectors_give(
    found: Gradients, name: str, k: int, cached: int
) -> None:
    projection = KINDS[name](min(k, found.dimension), 4)
    wanted = found.dense() @ twins.matrix(projection, found.dimension).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(memory.CACHED, "cpu", cached)
        projected = found.project(projection)
    assert torch.allclose(projected.dense(), wanted, rtol=1e-10, atol=1e-10)
    assert torch.equal(projected.values, found.values)
    assert widths(projected) == (projection.dimension,)


@pytest.mark.parametrize("name", ["mlp", "sequence", "mixed", "tied weights, linear first"])
def test_captured_gradients_are_projected(kind, name: str) -> None:
    found, projection = captured(PROBLEMS[name]()), kind(6, 4)
    wanted = found.dense() @ twins.matrix(projection, found.dimension).T
    assert torch.allclose(found.project(projection).dense(), wanted, rtol=1e-10, atol=1e-12)


def test_the_bits_do_not_depend_on_blocks_of_samples_or_coordinates(kind, monkeypatch) -> None:
    projection, x = kind(7, 1), _integers(6, 90)
    whole = projection(x)
    for sizes in ([1] * 6, [2, 4], [5, 1]):
        assert torch.equal(torch.cat([projection(rows) for rows in x.split(sizes)]), whole)
    for cached in (1, 40, 100, 1000):
        monkeypatch.setitem(memory.CACHED, "cpu", cached)
        assert torch.equal(projection(x), whole), f"blocks of {cached} numbers"


def test_columns_are_drawn_alone(kind) -> None:
    projection, p = kind(7, 1), 90
    whole = projection(torch.eye(p, dtype=torch.float64))
    index = torch.tensor([[3, 89, 3], [0, 21, 40]])
    assert torch.equal(projection.units(index, p), whole[index])
    assert torch.equal(projection.units(torch.arange(p), p), whole)


def test_a_longer_vector_has_the_same_first_columns() -> None:
    for kind in (Rademacher, Gaussian, SparseJL):
        short, long = (kind(5, 1).units(torch.arange(p), p) for p in (30, 5000))
        assert torch.equal(long[:30], short)
        assert len(long.unique(dim=0)) > (5 if kind is SparseJL else 31), "the columns repeat"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_dtype_has_the_same_matrix_and_is_kept(kind, dtype: torch.dtype) -> None:
    found = kind(7, 1)(torch.eye(90, dtype=dtype))
    assert found.dtype == dtype
    step = torch.finfo(dtype).eps
    exact = kind(7, 1)(torch.eye(90, dtype=torch.float64))
    assert torch.allclose(found.double(), exact, rtol=2 * step, atol=0)


def test_inner_products_are_kept_in_expectation(kind) -> None:
    x = _vectors(4, 40)
    worst = worst_deviation(lambda seed: kind(12, seed)(x), x @ x.T, seeds=600)
    assert worst < 4.5, f"off by {worst:.1f} standard errors; a wrong scale?"


def test_checkpoints_and_seeds_have_maps_of_their_own(kind) -> None:
    x, projection = _vectors(2, 400), kind(6, 1)
    others = [projection, projection.for_checkpoint(1), projection.for_checkpoint(2), kind(6, 2)]
    found = [p(x) for p in others]
    for i, a in enumerate(found):
        for b in found[:i]:
            assert not torch.allclose(a, b), "two projections are the same map"
    assert torch.equal(projection.for_checkpoint(0)(x), found[0])
    assert others[1] == kind(6, 1, 1)


def test_the_maps_of_two_seeds_are_independent(kind) -> None:
    if kind is RandomMask:
        return  # it has no signs
    # With P and Q drawn apart, E⟨Px, Qx⟩ = 0.
    x = _vectors(1, 60)
    products = [float(kind(12, s)(x) @ kind(12, s, 1)(x).T) for s in range(400)]
    products += [float(kind(12, s)(x) @ kind(12, s + 1)(x).T) for s in range(0, 800, 2)]
    mean, spread = torch.tensor(products).mean(), torch.tensor(products).std()
    assert abs(float(mean)) < 4.5 * float(spread) / len(products) ** 0.5


def test_neither_the_global_generator_nor_the_vectors_are_touched(kind) -> None:
    x = _vectors(2, 40)
    before, state = x.clone(), torch.random.get_rng_state()
    kind(6, 1)(x)
    assert torch.equal(x, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_samples_are_no_images(kind) -> None:
    assert kind(3)(torch.zeros(0, 50)).shape == (0, 3)


def test_every_device_has_the_same_matrix_and_adds_in_one_order(kind, device) -> None:
    x, projection = _integers(6, 90), kind(7, 1)
    assert torch.equal(projection(x.to(device)).cpu(), projection(x))
    many = torch.randn(40, 100_000, device=device)
    assert torch.equal(projection(many), projection(many))
