"""Curvature of some of the samples: the same numbers, however the data is batched."""

from __future__ import annotations

import pytest
import torch

from headwater.batches import SampleTable
from headwater.curvature import Hessian
from tests import reference
from tests.problems import PROBLEMS, select, split
from tests.systems import gradients_of, row_operator

CHOSEN = torch.tensor([1, 4, 8])


@pytest.mark.parametrize("size", [1, 4, [2, 7], 9], ids=str)
def test_the_hessian_of_some_samples(size: int | list[int]) -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task()
    part = Hessian(task.bind(), task.loss, split(problem.train, size)).on(CHOSEN)
    some = select(problem.train, CHOSEN)
    wanted = reference.hessian(problem.model, problem.loss, some)
    assert part.n == 3
    assert torch.allclose(part.dense(), wanted, rtol=1e-8, atol=1e-12)


def test_the_rows_of_some_samples() -> None:
    operator = row_operator()
    rows = gradients_of(operator).dense() * operator.scale[:, None]
    part = operator.on(CHOSEN)
    assert part.n == 3
    assert torch.allclose(part.dense(), reference.fisher(rows[CHOSEN]), rtol=1e-10)


def test_batches_of_different_lengths_stay_apart() -> None:
    batches = [(torch.zeros(4, 2), torch.arange(4)), (torch.zeros(5, 3), torch.arange(4, 9))]
    chosen = SampleTable(batches).select(CHOSEN)
    assert [batch[1].tolist() for batch in chosen] == [[1], [4, 8]]
    same = SampleTable([batches[0], batches[0]])
    assert [batch[1].tolist() for batch in same.select(torch.tensor([0, 3, 5]))] == [[0, 3, 1]]
    around = SampleTable([batches[0], batches[1], batches[0]])
    assert [b[1].tolist() for b in around.select(torch.tensor([0, 5, 9]))] == [[0], [5], [0]]
    assert [b[1].tolist() for b in around.select(torch.tensor([0, 9]))] == [[0, 0]]


def test_the_data_is_read_once_and_no_batch_is_touched_that_holds_none() -> None:
    reads = []

    class Loader(list):
        def __iter__(self):
            reads.append(len(self))
            return super().__iter__()

    problem = PROBLEMS["mlp"]()
    task = problem.task()
    operator = Hessian(task.bind(), task.loss, Loader(split(problem.train, 2)))
    operator.on(CHOSEN)
    before = len(reads)
    for start in range(5):
        operator.on(CHOSEN[:2] + start)
    assert len(reads) == before


@pytest.mark.parametrize("samples", [[3, 9], [-1, 3]])
def test_a_number_that_is_no_sample_is_refused(samples: list[int]) -> None:
    with pytest.raises(IndexError, match=r"samples must be in 0\.\.8, got"):
        SampleTable([torch.zeros(9, 1)]).select(torch.tensor(samples))
