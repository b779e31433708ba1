"""Functions of a flat vector of parameters."""

from __future__ import annotations

import pytest
import torch

from headwater.flat import flattened
from tests import reference
from tests.problems import PROBLEMS


@pytest.mark.parametrize("name", ["mlp", "shared linear", "logistic"])
def test_hessian_and_value_are_those_of_the_model(name: str) -> None:
    problem = PROBLEMS[name]()
    g = flattened(problem.model)(problem.loss)
    values = reference.values(problem.model, problem.loss, problem.train)
    assert torch.allclose(g(g.vector, problem.train), values, atol=1e-12)
    found = torch.func.hessian(lambda v: g(v, problem.train).mean())(g.vector)
    wanted = reference.hessian(problem.model, problem.loss, problem.train)
    assert torch.allclose(found, wanted, atol=1e-10)


def test_layers_restrict_the_vector() -> None:
    problem = PROBLEMS["mlp"]()
    g = flattened(problem.model, layers=["head"])(problem.loss)
    assert all(name.startswith("head") for name in g.layout.names)
    moved = g(2.0 * g.vector, problem.train)
    assert not torch.allclose(moved, g(g.vector, problem.train))


def test_a_vector_of_another_length_is_refused() -> None:
    problem = PROBLEMS["mlp"]()
    g = flattened(problem.model)(problem.loss)
    with pytest.raises(ValueError, match="the parameters must have shape"):
        g(g.vector[1:], problem.train)
