"""Gradients that are formed once, where each meets many others."""

import torch
from torch import nn

from headwater import AttributionTask
from headwater.gradients import Dense, GradientCapture, Outer


def outer(t: int) -> Outer:
    return Outer(torch.randn(3, t, 5), torch.randn(3, t, 4), True)


def test_factors_of_one_position_are_always_cheaper() -> None:
    assert outer(4).cheaper_formed(1000, 1000) and not outer(4).cheaper_formed(1, 1)
    assert not outer(1).cheaper_formed(1000, 1000)


def test_products_are_the_same_once_formed() -> None:
    model = nn.Sequential(nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 2)).double()
    task = AttributionTask(model, lambda model, x: model(x).square().sum((1, 2)))
    capture = GradientCapture(task.bind(), task.loss)
    train, test = (capture(torch.randn(n, 4, 30, dtype=torch.float64)) for n in (5, 100))
    formed = test.formed_for(10**6, 10**6)
    kinds = [(type(term), type(new)) for term, new in zip(test.terms, formed.terms, strict=True)]
    assert (Outer, Dense) in kinds, "forming saves operations here"
    grown = sum(
        new.width for term, new in zip(test.terms, formed.terms, strict=True) if new is not term
    )
    assert test.width_for(10**6, 10**6) == grown > 0
    wanted = train.inner(test)
    torch.testing.assert_close(train.inner(formed), wanted)
    assert any(term.cheaper_formed(10**6, 100) for term in train.terms)
    for blocks in ([test], [formed], [test[:2], formed[2:]]):
        torch.testing.assert_close(train.inner_all(blocks, 10**6), wanted)
