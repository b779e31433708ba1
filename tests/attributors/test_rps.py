"""Representer points: the samples' shares add up to the refitted logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from headwater import targets
from headwater.attributors import RPS, GradDot
from headwater.gradients.source import CapturedSource
from tests.laws import float64_scores, sources_of
from tests.problems import PROBLEMS, Logistic, Problem, split


def _prepared(attributor: RPS, problem: Problem) -> tuple[Any, CapturedSource]:
    (source,) = sources_of(attributor, [problem.train], [problem.test])
    return attributor.prepare(source), source


@pytest.mark.parametrize("fit", ["predictions", "labels"])
@pytest.mark.parametrize("normalize", [False, True])
def test_the_shares_of_all_samples_add_up_to_the_logit(fit: Any, normalize: bool) -> None:
    problem = PROBLEMS["mlp"]()
    attributor = RPS(problem.task(target=targets.logit), 1e-2, normalize=normalize, fit=fit)
    found = float64_scores(attributor, split(problem.train, 4), split(problem.test, 2)).sum(0)
    state, source = _prepared(attributor, problem)
    x = attributor.solve(source, state)["test_features"]
    wanted = (x @ state["weight"].T).gather(1, problem.test[1][:, None])[:, 0]
    assert torch.allclose(found, wanted, rtol=1e-9)
    assert float(state["gradient_norm"]) < 1e-12


def test_the_refit_to_predictions_keeps_the_predictions() -> None:
    problem = PROBLEMS["mlp"]()
    state, _ = _prepared(RPS(problem.task(), l2=1e-7), problem)
    own = problem.model.eval()(problem.train[0]).softmax(1)
    refitted = (state["features"] @ state["weight"].T).softmax(1)
    assert torch.allclose(refitted, own, atol=1e-3)


def test_the_refit_to_labels_is_grad_dot_at_the_optimum() -> None:
    # Θ* is the optimum that the model is at already: P = I/(2λn), n = 40 and 2λ the problem's L2.
    logistic = Logistic(n=40, classes=3)
    problem = logistic.problem()
    attributor = RPS(problem.task(), l2=logistic.l2 / 2, fit="labels")
    found = float64_scores(attributor, [problem.train], [problem.test])
    wanted = float64_scores(GradDot(problem.task()), [problem.train], [problem.test])
    assert torch.allclose(found, wanted / (logistic.l2 * 40), rtol=1e-7)


def test_labels_may_be_smoothed() -> None:
    def smoothed(model: Any, batch: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(
            model(batch[0]), batch[1], reduction="none", label_smoothing=0.1
        )

    problem = PROBLEMS["mlp"]()
    state, _ = _prepared(RPS(problem.task(loss=smoothed), 0.1, fit="labels"), problem)
    own = (state["features"] @ state["weight"].T).softmax(1)
    teacher = own + state["alpha"] * 2 * 0.1 * problem.n
    assert torch.equal(teacher.round(decimals=9), state["labels"].round(decimals=9))
    wanted = 0.9 * nn.functional.one_hot(problem.train[1], 3).double() + 0.1 / 3
    assert torch.allclose(teacher, wanted, atol=1e-12)


def test_batches_may_be_dictionaries() -> None:
    problem = PROBLEMS["mlp"]()
    inner = problem.loss
    named = lambda model, b: inner(model, (b["x"], b["y"]))  # noqa: E731
    dictionary = [dict(zip("xy", batch, strict=True)) for batch in split(problem.train, 4)]
    found = RPS(problem.task(loss=named), 0.1, fit="labels").cache(dictionary)
    wanted = RPS(problem.task(), 0.1, fit="labels").cache([problem.train])
    assert torch.allclose(
        found.attribute(dictionary, dictionary[:1]),
        wanted.attribute([problem.train], split(problem.train, 4)[:1]),
        rtol=1e-5,
    )


@pytest.mark.parametrize("fit", ["predictions", "labels"])
def test_another_loss_is_refused(fit: Any) -> None:
    problem = PROBLEMS["mlp"]()
    square = lambda model, batch: model(batch[0]).square().sum(1)  # noqa: E731
    attributor = RPS(problem.task(loss=square), 0.1, fit=fit)
    with pytest.raises(
        ValueError, match="loss must be the cross-entropy of the output of the layer"
    ):
        attributor.cache([problem.train])


def test_another_layer_is_refused() -> None:
    problem = PROBLEMS["mlp"]()
    with pytest.raises(
        ValueError, match="must be the cross-entropy of the output of the layer 'neck'"
    ):
        RPS(problem.task(), 0.1, layer="neck").cache([problem.train])
    RPS(problem.task(), 0.1, layer="head").cache([problem.train])


def test_arguments_out_of_range_are_refused() -> None:
    problem = PROBLEMS["mlp"]()
    with pytest.raises(ValueError, match="l2 must be > 0, got 0"):
        RPS(problem.task(), 0.0)
    with pytest.raises(ValueError, match="fit must be 'predictions' or 'labels', got 'both'"):
        RPS(problem.task(), 0.1, fit="both")  # type: ignore[arg-type]
