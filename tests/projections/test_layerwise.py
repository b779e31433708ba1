"""Layer-wise projections equal their explicit matrices, and draw every side of every layer anew."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from headwater.gradients import Gradients, Matrix, Outer, concatenate
from headwater.projections import FactGraSS, Gaussian, GraSS, Kronecker, Rademacher
from tests import reference
from tests import reference_projections as twins
from tests.groups import widths
from tests.problems import PROBLEMS, Problem, cross_entropy, randomised
from tests.projections.samples import captured, gradients, worst_deviation

KINDS = {
    "Kronecker": lambda seed=0: Kronecker(3, 2, seed=seed),
    "Kronecker Gaussian": lambda seed=0: Kronecker(2, 4, Gaussian, seed=seed),
    "Kronecker of everything": lambda seed=0: Kronecker(100, 100, seed=seed),
    "FactGraSS": lambda seed=0: FactGraSS(3, blowup=2, seed=seed),
    "FactGraSS 2": lambda seed=0: FactGraSS(5, blowup=3, nonzeros=2, seed=seed),
    "FactGraSS of everything": lambda seed=0: FactGraSS(1000, seed=seed),
}
WHOLE = {"weight outside": ["used"]}
NAMES = [
    "mlp", "sequence", "shared linear", "mixed", "mlp with frozen layer", "mlp with frozen weight",
    "positions first", "tied weights", *WHOLE,
]  # fmt: skip


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest):
    return KINDS[request.param]


def _convolutions() -> Problem:
    """A convolution, one in groups, whose weight is no matrix, and a Linear layer."""
    layers = nn.Conv2d(2, 4, 2), nn.Tanh(), nn.Conv2d(4, 6, 2, groups=2), nn.Flatten()
    model = randomised(nn.Sequential(*layers, nn.Linear(24, 3)).double(), seed=1)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(7, 2, 4, 4, generator=generator, dtype=torch.float64)
    batch = image, torch.arange(7) % 3
    return Problem(model, cross_entropy, batch, batch)


@pytest.mark.parametrize("name", [*NAMES, "convolutions"])
@pytest.mark.parametrize("keep_factors", [False, True])
def test_the_product_is_that_of_the_whole_matrix(kind, name: str, keep_factors: bool) -> None:
    problem = _convolutions() if name == "convolutions" else PROBLEMS[name]()
    projection = kind(seed=7).for_checkpoint(2)
    found = captured(problem, keep_factors).project(projection)
    rows = reference.per_sample_gradients(problem.model, problem.loss, problem.train)
    blocks = twins.layerwise_matrices(projection, problem.model, WHOLE.get(name, ()))
    assert widths(found) == tuple(len(block) for block in blocks)
    assert torch.allclose(found.dense(), rows @ torch.cat(blocks).T, rtol=1e-9, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(gradients(), st.sampled_from(sorted(set(KINDS) - {"Kronecker of everything"})))
def test_terms_of_any_form_give_what_their_matrices_give(found: Gradients, name: str) -> None:
    projection = KINDS[name](seed=5)
    wanted, rest = [], []
    for layer, term in zip(found.scheme.names, found.terms, strict=True):
        if term.matrix is None:
            rest.append(term.dense())
            continue
        matrices = _matrices(term.matrix, term.dense())
        whole = twins.layer_matrix(projection, layer, matrices.shape[2], matrices.shape[1])
        wanted.append(matrices.flatten(1) @ whole.T)
    if rest:
        vectors = torch.cat(rest, 1)
        whole = twins.fitted(twins.rest_projection(projection), vectors.shape[1])
        wanted.append(vectors @ whole.T)
    projected = found.project(projection)
    assert widths(projected) == tuple(block.shape[1] for block in wanted)
    assert torch.allclose(projected.dense(), torch.cat(wanted, 1), rtol=1e-9, atol=1e-9)
    assert torch.equal(projected.values, found.values)
    each = [found[i : i + 1].project(projection).dense() for i in range(len(found))]
    assert torch.allclose(torch.cat(each), projected.dense(), rtol=1e-12, atol=1e-12)


def _matrices(shape: Matrix, vectors: torch.Tensor) -> torch.Tensor:
    """Vectors as matrices (n, d_out, d_in (+ 1)), entry by entry."""
    found = torch.zeros(len(vectors), shape.d_out, shape.columns, dtype=vectors.dtype)
    for row in range(shape.d_out):
        for column in range(shape.columns):
            place = row * shape.d_in + column
            if column == shape.d_in:
                place = shape.d_in * shape.d_out + row
            elif shape.transposed:
                place = column * shape.d_out + row
            found[:, row, column] = vectors[:, place]
    return found


@pytest.mark.parametrize("name", ["mlp", "mixed"])
def test_inner_products_are_kept_in_expectation(kind, name: str) -> None:
    found = captured(PROBLEMS[name]())[:3]
    wanted = found.inner(found)
    everything = kind() in (Kronecker(100, 100), FactGraSS(1000))
    if everything:
        whole = found.project(kind())
        assert torch.allclose(whole.inner(whole), wanted, rtol=1e-10)
        return
    worst = worst_deviation(lambda seed: found.project(kind(seed=seed)).dense(), wanted, seeds=300)
    assert worst < 4.5, f"off by {worst:.1f} standard errors"


def test_every_side_of_every_layer_is_drawn_anew() -> None:
    # Equal shapes everywhere: a shared seed would give equal matrices.
    x = torch.eye(9, dtype=torch.float64)
    projection = Kronecker(3, 3, seed=1)
    matrices = [
        side(x)
        for p in (projection, projection.for_checkpoint(1), Kronecker(3, 3, seed=2))
        for name in ("first", "second", "firs")
        for side in p.sides(name)
    ]
    for i, a in enumerate(matrices):
        assert not any(torch.equal(a, b) for b in matrices[:i]), "two sides share a matrix"
    masks = FactGraSS(4, seed=1).sides("first", Matrix(50, 50))
    assert not torch.equal(masks[0].coordinates(50)[0], masks[1].coordinates(50)[0])


def test_a_layer_does_not_depend_on_the_others() -> None:
    whole = captured(PROBLEMS["mlp"]()).project(Kronecker(2, 2, seed=1))
    frozen = captured(PROBLEMS["mlp with frozen layer"]()).project(Kronecker(2, 2, seed=1))
    assert widths(whole) == (4, 4, 4)
    assert torch.allclose(whole.dense()[:, 4:], frozen.dense(), rtol=1e-12)


def test_the_bias_is_one_more_input() -> None:
    a, e = torch.randn(4, 3, 6, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)
    ones = torch.cat([a, torch.ones(4, 3, 1, dtype=torch.float64)], 2)
    for projection in (Kronecker(2, 2, seed=3), FactGraSS(4, seed=3)):
        found = [
            projection.of_layer("layer", term, term.matrix)
            for term in (Outer(a, e, bias=True), Outer(ones, e))
        ]
        assert torch.equal(*found)


def test_blocks_survive_slicing_and_joining() -> None:
    projected = captured(PROBLEMS["mlp"]()).project(Kronecker(2, 2))
    joined = concatenate([projected[:4], projected[4:]])
    assert widths(joined) == widths(projected) == (4, 4, 4)
    assert torch.equal(joined.dense(), projected.dense())


def test_vectors_are_refused(kind) -> None:
    with pytest.raises(
        ValueError,
        match=r"needs the gradients of each layer, got vectors of length 9; .* or use GraSS",
    ):
        kind()(torch.ones(2, 9))


@pytest.mark.parametrize("kind", [Rademacher, GraSS])
def test_projected_gradients_can_be_projected_again(kind) -> None:
    projected = captured(PROBLEMS["mlp"]()).project(Rademacher(40))
    again = projected.project(kind(4))
    assert torch.allclose(again.dense(), kind(4)(projected.dense()))
