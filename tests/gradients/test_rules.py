"""Every rule with every option gives the gradients of a loop, in every form and by every route.

`pytest --device cuda --dtype bfloat16` runs the table elsewhere, in other numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from headwater.gradients import Dense, Gradients, Outer, Rows, Sum, Term, concatenate
from tests.gradients.layers import LAYERS
from tests.gradients.nets import NETS
from tests.gradients.row import Case
from tests.groups import by_group, widths
from tests.precision import assert_close
from tests.problems import split

TABLE = {**LAYERS, **NETS}
Close = Callable[..., None]
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@pytest.fixture(scope="module", params=TABLE)
def case(request: pytest.FixtureRequest, device: torch.device, dtype: torch.dtype) -> Case:
    return TABLE[request.param].case(device, dtype)


@pytest.fixture
def close(dtype: torch.dtype) -> Close:
    return lambda found, wanted, what="": assert_close(found, wanted, dtype, what)


@pytest.fixture
def forms(case: Case) -> dict[str, Gradients]:
    factors = case.factors
    return {
        "factors": factors,
        "small": case.small,
        "formed": _with_terms(factors, [term.formed() for term in factors.terms]),
        "halves": _with_terms(factors, [Sum((_half(t), _half(t))) for t in factors.terms]),
    }


def _with_terms(gradients: Gradients, terms: list[Term]) -> Gradients:
    return Gradients(gradients.scheme, terms, gradients.values)


def _half(term: Term) -> Term:
    scaled = {
        name: t / 2 if name.endswith(("output_gradients", "columns")) else t
        for name, t in term.tensors().items()
    }
    return term.with_tensors(scaled)


# The gradients ---------------------------------------------------------------------------------


def test_gradients_are_those_of_a_loop(case: Case, forms, close: Close, dtype) -> None:
    for name, gradients in forms.items():
        close(gradients.dense(), case.exact, name)
        assert gradients.dtype == dtype, name
        assert len(gradients) == len(case.batch[0])
    close(case.small.values, case.factors.values, "values")


def test_terms_are_of_the_kind_that_is_expected(case: Case) -> None:
    pairs = zip(case.factors.scheme.names, case.factors.terms, strict=True)
    assert {name: term.form()["kind"] for name, term in pairs} == case.row.terms
    assert sorted(case.captures[True].without_rule) == sorted(case.row.without)


def test_no_term_is_larger_than_its_formed_gradient(case: Case) -> None:
    for name, term in zip(case.small.scheme.names, case.small.terms, strict=True):
        assert term.bytes_per_sample <= term.width * term.dtype.itemsize, name


def test_batches_change_nothing(case: Case, close: Close) -> None:
    n = len(case.batch[0])
    for sizes in ([1] * n, [1, n - 1], [0, n] if case.row.empty else [2, n - 2]):
        for keep_factors in (False, True):
            capture = case.capture(keep_factors)
            parts = [capture(batch) for batch in split(case.batch, sizes)]
            close(concatenate(parts).dense(), case.exact, f"{sizes}, {keep_factors}")
            assert [len(part) for part in parts] == sizes


# The operations, against the same numbers, formed ------------------------------------------------


def test_products(case: Case, forms, close: Close) -> None:
    dense = case.factors.dense().double()
    for (one, mine), (two, theirs) in product(forms.items(), repeat=2):
        close(mine.inner(theirs[:3]), dense @ dense[:3].T, f"{one} and {two}")
    for name, gradients in forms.items():
        vectors = case.factors.dense()[1:]
        close(gradients.inner_vectors(vectors), dense @ vectors.double().T, name)
        close(gradients.squared_norms(), dense.square().sum(1), name)


def test_columns_and_entries(case: Case, forms, close: Close) -> None:
    dense = case.factors.dense()
    p = dense.shape[1]
    some = torch.arange(0, p, 3, device=dense.device)
    for name, gradients in forms.items():
        for coordinates in (some, some[-1:], some[:0], torch.arange(p, device=dense.device)):
            close(gradients.entries(coordinates), dense[:, coordinates], name)
        for start, stop in ((0, p), (p // 3, p // 2 + 1), (p - 1, p), (p // 2, p // 2)):
            close(gradients.columns(start, stop), dense[:, start:stop], f"{name} {start}:{stop}")


def test_samples_are_selected_and_joined(case: Case, forms, close: Close) -> None:
    for name, gradients in forms.items():
        dense = gradients.dense()
        for rows in (slice(1, 3), slice(2, 2), torch.tensor([3, 0], device=dense.device)):
            close(gradients[rows].dense(), dense[rows], name)
            assert torch.equal(gradients[rows].values, gradients.values[rows])
        joined = concatenate([gradients[:1], forms["factors"][1:2], gradients[2:]])
        wanted = [dense[:1], forms["factors"].dense()[1:2], dense[2:]]
        close(joined.dense(), torch.cat(wanted), name)
        again = gradients.with_tensors(gradients.tensors())
        assert torch.equal(again.dense(), dense), name
        assert {len(t) for t in gradients.tensors().values()} == {len(gradients)}


def test_groups_are_parts_of_the_whole(case: Case, forms, close: Close) -> None:
    for name, gradients in forms.items():
        parts = by_group(gradients)
        for group, part in enumerate(parts):
            wanted = gradients.scheme.take(gradients.dense(), group)
            assert torch.equal(part.dense(), wanted), name
        total = torch.stack([part.inner(part) for part in parts]).sum(0)
        close(total, gradients.inner(gradients), name)
        assert sum(widths(gradients)) == gradients.dimension


def test_squares_in_the_order_of_the_matrix(case: Case, forms, close: Close) -> None:
    for name, gradients in forms.items():
        for term in gradients.terms:
            vectors = term.dense().double()
            if term.matrix is None:
                wanted = vectors.square()
            else:
                wanted = term.matrix.matrices(vectors).square().flatten(1)
            close(term.sum_of_squares(), wanted.sum(0), name)
            weights = torch.rand(wanted.shape[1], dtype=torch.float64, device=wanted.device)
            if term.matrix is not None:
                weights = weights.view(term.matrix.d_out, term.matrix.columns)
            close(term.weighted_squares(weights), wanted @ weights.flatten(), name)


class Images:
    """A linear map, as one side of a projection."""

    def __init__(self, size: int, like: Tensor) -> None:
        self.matrix = torch.randn(3, size, dtype=torch.float64).to(like)

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T

    def units(self, index: Tensor, size: int) -> Tensor:
        return self.matrix.T[index]


def test_both_sides_of_the_matrices_are_mapped(case: Case, forms, close: Close) -> None:
    for name, gradients in forms.items():
        for term in gradients.terms:
            if term.matrix is None:
                with pytest.raises(ValueError, match="two-sided maps need"):
                    term.two_sided(None, None)
                continue
            matrices = term.matrix.matrices(term.dense())
            left = Images(term.matrix.d_out, matrices)
            right = Images(term.matrix.columns, matrices)
            for outputs, inputs in product((None, left), (None, right)):
                wanted = matrices.double()
                if outputs is not None:
                    wanted = outputs.matrix.double() @ wanted
                if inputs is not None:
                    wanted = wanted @ inputs.matrix.double().T
                found = term.two_sided(inputs, outputs)
                assert found.matrix is not None
                close(found.matrix.matrices(found.dense()), wanted, f"{name} {outputs} {inputs}")


def test_second_moments_are_those_of_inputs_and_output_gradients(case: Case, close: Close) -> None:
    for term in case.factors.terms:
        moments = term.moments()
        if isinstance(term, (Dense, Sum)):
            assert moments is None
            continue
        assert isinstance(term, (Outer, Rows)) and moments is not None
        e = term.output_gradients.double().flatten(0, 1)
        if isinstance(term, Outer):
            a = term.with_one().double()
        else:
            a = torch.nn.functional.one_hot(term.index, term.size).double()
        a = a.flatten(0, 1)
        if term.output_gradients.shape[1] > 1:
            a, e = a[e.any(1)], e[e.any(1)]
        inputs = a.T @ a if isinstance(term, Outer) else (a.T @ a).diagonal()
        close(moments.inputs, inputs, "inputs")
        close(moments.outputs, e.T @ e, "outputs")
        assert moments.positions == len(a)
