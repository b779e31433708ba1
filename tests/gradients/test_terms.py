"""The forms of a group's gradients agree with their formed gradients, and with each other."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from headwater import memory
from headwater.gradients import (
    Dense,
    GradientCapture,
    Gradients,
    Matrix,
    Outer,
    Rows,
    Scheme,
    Sum,
    Term,
    concatenate,
)
from headwater.gradients.forms import added, empty
from headwater.parameters import ParameterLayout
from headwater.projections import Gaussian, Rademacher
from tests import reference
from tests.groups import widths
from tests.precision import assert_close
from tests.problems import PROBLEMS

D_IN, D_OUT = 5, 3


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def outer(n: int, t: int, bias: bool = False, transposed: bool = False) -> Outer:
    return Outer(draw(n, t, D_IN), draw(n, t, D_OUT), bias, transposed)


def rows(n: int, t: int) -> Rows:
    """Of a table (D_IN, D_OUT), which lies like a transposed weight."""
    return Rows(torch.randint(D_IN, (n, t)), draw(n, t, D_OUT), D_IN)


def dense(n: int, bias: bool = False, transposed: bool = False) -> Dense:
    matrix = Matrix(D_OUT, D_IN, bias, transposed)
    return Dense(draw(n, matrix.width), matrix)


TERMS = {
    "weight": {
        "outer of one position": lambda n: outer(n, 1),
        "outer": lambda n: outer(n, 4),
        "outer of many positions": lambda n: outer(n, 30),
        "dense": dense,
        "dense without matrix": lambda n: Dense(draw(n, D_IN * D_OUT)),
        "sum": lambda n: Sum((outer(n, 2), dense(n))),
        "sum with a table": lambda n: Sum(
            (outer(n, 2), Rows(torch.randint(D_OUT, (n, 3)), draw(n, 3, D_IN), D_OUT))
        ),
        "table": lambda n: Rows(torch.randint(D_OUT, (n, 3)), draw(n, 3, D_IN), D_OUT),
    },
    "weight and bias": {
        "outer of one position": lambda n: outer(n, 1, bias=True),
        "outer": lambda n: outer(n, 4, bias=True),
        "outer of many positions": lambda n: outer(n, 30, bias=True),
        "dense": lambda n: dense(n, bias=True),
        "sum": lambda n: Sum((outer(n, 2, bias=True), dense(n, bias=True))),
    },
    "transposed weight": {
        "outer": lambda n: outer(n, 4, transposed=True),
        "rows": lambda n: rows(n, 4),
        "rows of one position": lambda n: rows(n, 1),
        "rows of many positions": lambda n: rows(n, 40),
        "dense": lambda n: dense(n, transposed=True),
        "sum": lambda n: Sum((outer(n, 2, transposed=True), rows(n, 3))),
    },
    "transposed weight and bias": {
        "outer": lambda n: outer(n, 4, bias=True, transposed=True),
        "dense": lambda n: dense(n, bias=True, transposed=True),
    },
}
"""Forms of gradients of one shape, which may meet."""
PAIRS = [(kind, *pair) for kind, forms in TERMS.items() for pair in product(forms, repeat=2)]


def formed(term: Term) -> Tensor:
    """The gradients, one position after the other."""
    if isinstance(term, Dense):
        return term.vectors
    if isinstance(term, Sum):
        return torch.stack([formed(part) for part in term.terms]).sum(0)
    assert isinstance(term, (Outer, Rows))
    found = []
    for i in range(len(term)):
        weight = torch.zeros(term.matrix.d_out, term.matrix.d_in, dtype=torch.float64)
        for t in range(term.output_gradients.shape[1]):
            e = term.output_gradients[i, t]
            a = (
                term.inputs[i, t]
                if isinstance(term, Outer)
                else torch.eye(term.size)[term.index[i, t]]
            )
            weight += torch.outer(e, a.double())
        flat = (weight.T if term.matrix.transposed else weight).flatten()
        bias = term.output_gradients[i].sum(0)
        found.append(torch.cat([flat, bias]) if term.matrix.bias else flat)
    return torch.stack(found)


def close(found: Tensor, wanted: Tensor) -> None:
    assert_close(found, wanted, torch.float64)


@pytest.fixture(params=[1, 7, None], ids=["blocks of one", "small blocks", "large blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        for budget in (memory.CACHED, memory.LARGE):
            monkeypatch.setitem(budget, "cpu", request.param)


@pytest.mark.parametrize(("kind", "one", "two"), PAIRS)
def test_inner_products_of_any_two_forms(kind: str, one: str, two: str, blocks: None) -> None:
    mine, theirs = TERMS[kind][one](4), TERMS[kind][two](3)
    wanted = formed(mine) @ formed(theirs).T
    found = torch.ones(4, 3, dtype=torch.float64)
    mine.add_inner(theirs, found)
    close(found - 1, wanted)


@pytest.mark.parametrize(
    ("kind", "name"), [(k, name) for k, forms in TERMS.items() for name in forms]
)
def test_all_that_a_form_can_do(kind: str, name: str, blocks: None) -> None:
    term = TERMS[kind][name](4)
    wanted = formed(term)
    p = term.width
    close(term.dense(), wanted)
    close(term.formed().dense(), wanted)
    close(term.squared_norms(), wanted.square().sum(1))
    for m in (1, 3, 40):
        vectors = draw(m, p)
        close(term.inner_vectors(vectors), wanted @ vectors.T)
    for coordinates in (torch.arange(p), torch.tensor([0, p - 1]), torch.arange(1, p, 4)):
        close(term.entries(coordinates), wanted[:, coordinates])
    for start, stop in ((0, p), (1, p - 1), (p - 2, p), (3, 4)):
        close(term.columns(start, stop), wanted[:, start:stop])
    other = TERMS[kind][name](4)
    close(added(term, other).dense(), wanted + formed(other))
    for form in TERMS[kind].values():
        other = form(4)
        close(added(term, other).dense(), wanted + formed(other))
    again = empty(term.form()).with_tensors(term.tensors())
    assert again.form() == term.form()
    close(again.dense(), wanted)
    assert term.bytes_per_sample * len(term) == sum(t.nbytes for t in term.tensors().values())


@pytest.mark.parametrize(
    ("shape", "route"),
    [
        ((1, 1, 9, 9), "factors"),
        ((1, 3, 20, 20), "factors"),
        ((20, 20, 2, 2), "formed"),
        ((20, 3, 1, 1), "formed"),
    ],
)
def test_both_routes_of_the_inner_product_are_taken(shape, route, monkeypatch) -> None:
    s, t, d_in, d_out = shape
    one, two = (
        Outer(draw(n, positions, d_in), draw(n, positions, d_out), True)
        for n, positions in ((5, s), (4, t))
    )
    taken = []
    original = Outer.inner_vectors

    def spy(self, vectors):
        taken.append("formed")
        return original(self, vectors)

    monkeypatch.setattr(Outer, "inner_vectors", spy)
    found = torch.zeros(5, 4, dtype=torch.float64)
    one.add_inner(two, found)
    close(found, formed(one) @ formed(two).T)
    assert (taken or ["factors"]) == [route]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("vectors", [1, 3, 200])
@pytest.mark.parametrize(("t", "d_in", "d_out"), [(1, 90, 7), (1, 8, 5), (3, 90, 7), (5, 2, 3)])
def test_every_route_of_products_with_vectors(
    t: int, d_in: int, d_out: int, vectors: int, bias: bool, blocks: None
) -> None:
    term = Outer(draw(20, t, d_in), draw(20, t, d_out), bias)
    v = draw(vectors, term.width)
    close(term.inner_vectors(v), formed(term) @ v.T)


def test_terms_of_different_lengths_are_joined_with_zeros() -> None:
    for kind, name in (("weight and bias", "outer"), ("transposed weight", "sum")):
        make = TERMS[kind][name]
        long, short = make(2), make(3)
        cut = short.with_tensors({key: t[:, :2] for key, t in short.tensors().items()})
        scheme = Scheme(ParameterLayout((("w", (long.width,)),)), (("w",),))
        parts = [Gradients(scheme, [term], draw(len(term))) for term in (long, cut, dense_of(cut))]
        joined = concatenate(parts)
        close(joined.dense(), torch.cat([formed(long), formed(cut), formed(cut)]))
        assert joined.terms[0].matrix == long.matrix
        close(concatenate(parts[:2]).dense(), torch.cat([formed(long), formed(cut)]))


def dense_of(term: Term) -> Dense:
    """The same gradients, of which it is not known that they are a matrix."""
    return Dense(term.dense())


# Gradients of all groups ------------------------------------------------------------------------


def captured(name: str) -> Gradients:
    problem = PROBLEMS[name]()
    task = problem.task()
    return GradientCapture(task.bind(), task.loss)(problem.train)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("kind", [Rademacher, Gaussian])
def test_projected_gradients_are_the_projection_of_the_dense_ones(name: str, kind) -> None:
    train, projection = captured(name), kind(dimension=6, seed=3)
    matrix = reference.projection_matrix(projection, train.dimension)
    found = train.project(projection)
    close(found.dense(), train.dense() @ matrix.T)
    assert torch.equal(found.values, train.values), "the values must survive the projection"


def test_gradients_of_vectors() -> None:
    vectors, values = draw(4, 7), draw(4)
    whole = Gradients.of_vectors(vectors, values)
    cut = Gradients.of_vectors(vectors, values, widths=(3, 4))
    for gradients in (whole, cut):
        assert torch.equal(gradients.dense(), vectors)
        assert torch.equal(gradients.values, values)
        assert gradients.nbytes == vectors.nbytes + values.nbytes
        close(gradients.inner(gradients), vectors @ vectors.T)
    assert (widths(whole), widths(cut)) == ((7,), (3, 4))
    assert torch.equal(Gradients.of_vectors(vectors).values, torch.zeros(4).double())


def test_coarse_products_are_summed_in_32_bits() -> None:
    """A squared norm is beyond what float16 can hold."""
    gradients = Gradients.of_vectors(torch.full((2, 5000), 10.0, dtype=torch.float16))
    wanted = torch.full((2, 2), 500_000.0)
    for products in (gradients.inner(gradients), gradients.inner_vectors(gradients.dense())):
        assert torch.equal(products, wanted)
    assert torch.equal(gradients.squared_norms(), wanted[0])


def test_gradients_of_other_layers_are_refused() -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task(layers=["head"])
    part = GradientCapture(task.bind(), task.loss)(problem.train)
    with pytest.raises(ValueError, match="same parameters"):
        captured("mlp").inner(part)


def test_projected_and_whole_gradients_do_not_mix() -> None:
    train = captured("mlp")
    with pytest.raises(ValueError, match="cannot be mixed"):
        train.inner_vectors(train.project(Rademacher(dimension=4)).dense())


def test_vectors_of_a_wrong_rank_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, p\)"):
        Gradients.of_vectors(torch.zeros(3))


def test_concatenation_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        concatenate([])
