"""The sign of methods without gradients, and what the baselines know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from headwater import AttributionTask, targets
from headwater.attributors import FeatureSimilarity, LabelMatch, LossOnly, RandomScores
from headwater.attributors.feature_attributor import direction
from tests.problems import PROBLEMS, Logistic, cross_entropy, select, split

SIGNS = {
    "loss": (cross_entropy, -1.0),
    "another cross-entropy": (targets.cross_entropy, -1.0),
    "margin": (targets.margin, 1.0),
    "logit": (targets.logit, 1.0),
    "log-probability": (targets.log_probability, 1.0),
    "probability": (lambda model, batch: targets.log_probability(model, batch).exp(), 1.0),
    "error": (lambda model, batch: -torch.expm1(targets.log_probability(model, batch)), -1.0),
}


@pytest.mark.parametrize("name", SIGNS)
def test_the_sign_is_that_of_the_target_as_the_loss_falls(name: str) -> None:
    target, sign = SIGNS[name]
    problem = PROBLEMS["mlp"]()
    for size in (1, 9):
        batch = select(problem.train, slice(0, size))
        assert direction(problem.task().bind(), problem.loss, target, batch) == sign


def test_the_sign_of_a_sequence_model() -> None:
    problem = PROBLEMS["sequence"]()
    rising = lambda model, batch: -cross_entropy(model, batch)  # noqa: E731
    assert direction(problem.task().bind(), problem.loss, rising, problem.train) == 1.0


MIXED = {
    "one logit of all samples": lambda model, batch: model(batch[0])[:, 0],
    "a constant": lambda model, batch: 0.0 * model(batch[0])[:, 0],
    "no function of the model": lambda model, batch: model(batch[0])[:, 0].detach(),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_target_that_goes_both_ways_is_refused(name: str) -> None:
    problem = PROBLEMS["mlp"]()
    task = problem.task(target=MIXED[name])
    with pytest.raises(
        ValueError, match="must rise or fall with the loss, the same at every sample"
    ):
        LabelMatch(task).cache([problem.train])


class Wrapped(nn.Module):
    """A model whose output holds its logits."""

    def __init__(self, model: nn.Module, output: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, x: Tensor) -> Any:
        return self.output(self.model(x))


OUTPUTS = {
    "tuple": lambda z: (z, torch.ones(3)),
    "dict": lambda z: {"logits": z, "hidden": torch.ones(3)},
    "ModelOutput": lambda z: SequenceClassifierOutput(logits=z, hidden_states=(torch.ones(3),)),
}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("name", ["loss", "margin", "logit"])
def test_the_sign_of_a_model_whose_output_holds_its_logits(kind: str, name: str) -> None:
    problem, target = PROBLEMS["mlp"](), getattr(targets, name, targets.cross_entropy)
    x, y = problem.train
    bound = AttributionTask(Wrapped(problem.model, OUTPUTS[kind]), targets.cross_entropy).bind()
    for batch in ((x, y), {"x": x, "labels": y}):
        found = direction(bound, targets.cross_entropy, target, batch)
        assert found == SIGNS[name][1]


def test_a_model_that_returns_no_logits_is_refused() -> None:
    model = Wrapped(nn.Linear(2, 3), lambda z: {"hidden": z})
    loss = lambda model, batch: model(batch[0])["hidden"].sum(1)  # noqa: E731
    with pytest.raises(ValueError, match=r"must return its logits .* got dict with hidden; wrap"):
        LabelMatch(AttributionTask(model, loss)).cache([(torch.ones(2, 2), torch.tensor([0, 1]))])


def test_random_scores_are_uniform_and_have_a_seed() -> None:
    logistic = Logistic(n=80)
    problem = logistic.problem()
    train, test = [problem.train], [problem.train]
    scores = {
        seed: RandomScores(problem.task(), seed).cache(train).attribute(train, test)
        for seed in (0, 1, -1)
    }
    for found in scores.values():
        assert float(found.min()) >= 0.0
        assert float(found.max()) < 1.0
        assert float(found.mean()) == pytest.approx(0.5, abs=0.02)
        assert float(found.std()) == pytest.approx(12**-0.5, abs=0.02)
        rows = torch.corrcoef(found).fill_diagonal_(0.0)
        assert float(rows.abs().max()) < 0.5, "two samples have the same scores"
    assert float(torch.corrcoef(torch.stack([s.flatten() for s in scores.values()]))[0, 1]) < 0.05
    again = RandomScores(problem.task(), 0).cache(split(problem.train, 7))
    assert torch.equal(again.attribute(split(problem.train, 7), test), scores[0])


def test_similarity_is_one_for_the_same_direction_and_zero_for_no_features() -> None:
    model = nn.Linear(2, 3)
    task = AttributionTask(model, targets.cross_entropy, targets.margin)
    x = torch.tensor([[1.0, 1.0], [2.0, 2.0], [1.0, -1.0], [0.0, 0.0]])
    data = [(x, torch.tensor([0, 1, 2, 0]))]
    attributor = FeatureSimilarity(task).cache(data)
    found = attributor.attribute(data, data)
    wanted = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    assert torch.allclose(found, wanted, atol=1e-6)
    assert attributor.self_influence(data).tolist() == [1.0, 1.0, 1.0, 0.0]


def test_loss_only_is_the_loss() -> None:
    problem = PROBLEMS["mlp"]()
    train = split(problem.train, 4)
    attributor = LossOnly(problem.task()).cache(train)
    losses = problem.task().bind().values(problem.loss, problem.train).float()
    assert torch.allclose(attributor.self_influence(train), losses)
    assert torch.allclose(
        attributor.attribute(train, [problem.test]), -losses[:, None].repeat(1, 5)
    )


@pytest.mark.parametrize("side", [(0, 2), (2, 0)], ids=["right", "left"])
def test_random_scores_do_not_see_padding(side: tuple[int, int]) -> None:
    tokens = torch.tensor([[4, 2, 3], [1, 5, 2]])
    mask = torch.ones_like(tokens)
    model = nn.Sequential(nn.Embedding(6, 6))
    loss = lambda model, batch: model(batch["input_ids"]).square().sum((1, 2))  # noqa: E731
    padded = [nn.functional.pad(t, side) for t in (tokens, mask)]
    scores = []
    for pair in ([tokens, mask], padded):
        data = [dict(zip(("input_ids", "attention_mask"), pair, strict=True))]
        task = AttributionTask(model, loss)
        scores.append(RandomScores(task).cache(data).attribute(data, data))
    assert torch.equal(*scores)
    assert len(scores[0].unique()) == 4
