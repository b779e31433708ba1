"""Scores per token add up to those of the sequences, and are those of the tokens' own targets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.attributors import (
    GradCos,
    GradDot,
    InfluenceFunction,
    LossOnly,
    RelatIF,
    TracInCP,
)
from headwater.curvature import EKFAC
from headwater.gradients import Gradients
from headwater.solvers import ConjugateGradient, Eigenbasis, Woodbury
from tests import reference

IGNORED = -100


class SignDot(GradDot):
    """Products of signs: those of tokens do not add up."""

    def represent(self, gradients: Gradients, checkpoint: int) -> Gradients:
        return Gradients.of_vectors(gradients.dense().sign(), gradients.values)


class Reader(nn.Module):
    """Logits of every token from the mean of the tokens so far."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.mix, self.head = nn.Embedding(7, 4), nn.Linear(4, 5), nn.Linear(5, 7)

    def forward(self, tokens: Tensor) -> Tensor:
        counts = torch.arange(1, tokens.shape[1] + 1, dtype=torch.float64)[:, None]
        return self.head(torch.tanh(self.mix(self.tokens(tokens).cumsum(1) / counts)))


def batch(n: int, positions: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 7, (n, positions), generator=generator)
    labels = torch.randint(0, 7, (n, positions), generator=generator)
    labels[0, -1] = IGNORED
    return tokens, labels


TRAIN = [batch(3, 4, 0), batch(2, 6, 1)]
TEST = [batch(2, 3, 2), batch(2, 5, 3)]
METHODS = {
    "grad-dot": GradDot,
    "tracin": lambda task: TracInCP(task, [0.5]),
    "conjugate gradients": lambda task: InfluenceFunction(
        task, ConjugateGradient(3.0, max_iterations=300, tolerance=1e-13)
    ),
    "ek-fac": lambda task: InfluenceFunction(
        task, Eigenbasis(damping="auto"), EKFAC(labels="empirical")
    ),
}


@pytest.fixture
def task() -> AttributionTask:
    return AttributionTask(Reader().double(), targets.cross_entropy)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("side", ["train", "test"])
def test_scores_of_tokens_add_up_to_those_of_their_sequence(task, name, side):
    attributor = METHODS[name](task).cache(TRAIN)
    whole = attributor.attribute(TRAIN, TEST)
    tokens = attributor.attribute(TRAIN, TEST, per_token=side)
    assert tokens.shape == ((5, 6, 4) if side == "train" else (5, 4, 5))
    found = tokens.sum(1 if side == "train" else 2)
    assert torch.allclose(found, whole, rtol=1e-5, atol=1e-6 * float(whole.abs().max()))


def test_each_score_is_that_of_the_token_alone():
    model = Reader().double()
    task = AttributionTask(model, targets.cross_entropy)
    tokens = GradDot(task).cache(TRAIN).attribute(TRAIN, TEST, per_token="test")
    inputs = TEST[1]
    g = torch.cat([reference.per_sample_gradients(model, task.loss, part) for part in TRAIN])
    for t in range(5):
        only = inputs[1].clone()
        only[:, torch.arange(5) != t] = IGNORED
        f = reference.per_sample_gradients(model, task.loss, (inputs[0], only))
        assert torch.allclose(tokens[:, 2:, t].double(), -g @ f.T, rtol=1e-5, atol=1e-6)


def test_positions_without_a_label_have_the_score_0(task):
    attributor = GradDot(task).cache(TRAIN)
    test = attributor.attribute(TRAIN, TEST, per_token="test")
    assert not test[:, :2, 3:].any() and not test[:, 2, 4].any() and test[:, 3, 4].all()
    train = attributor.attribute(TRAIN, TEST, per_token="train")
    assert not train[:3, 4:].any() and not train[0, 3].any() and train[1, 3].all()


def test_margins_of_tokens_can_be_explained():
    task = AttributionTask(Reader().double(), targets.cross_entropy, target=targets.margin)
    tokens = GradDot(task).cache(TRAIN).attribute(TRAIN, TEST, per_token="test")
    assert tokens.shape == (5, 4, 5) and bool((tokens[:, 1, :3] != 0).all())


@pytest.mark.parametrize(
    ("make", "side", "message"),
    [
        (SignDot, "train", "got SignDot with these choices"),
        (GradDot, "both", "per_token must be 'train' or 'test', got 'both'"),
        (GradCos, "train", "scores that are sums over the tokens .* got GradCos"),
        (
            lambda t: InfluenceFunction(t, Woodbury(0.1)),
            "train",
            "got InfluenceFunction with these",
        ),
        (lambda t: RelatIF(t, ConjugateGradient(3.0)), "train", "got RelatIF with these choices"),
        (LossOnly, "test", "per_token needs a method of gradients, got LossOnly"),
    ],
)
def test_what_has_no_scores_per_token_is_refused(task, make, side, message):
    with pytest.raises(ValueError, match=message):
        make(task).cache(TRAIN).attribute(TRAIN, TEST, per_token=side)


def test_a_target_of_ones_own_is_refused(task):
    own = AttributionTask(Reader().double(), lambda model, b: model(b[0]).sum((1, 2)))
    with pytest.raises(ValueError, match="per_token needs cross_entropy, log_probability"):
        GradDot(own).cache(TRAIN).attribute(TRAIN, TEST, per_token="test")


def test_a_file_for_scores_of_tokens_is_refused(task, tmp_path):
    with pytest.raises(ValueError, match="out must not be given with per_token"):
        GradDot(task).cache(TRAIN).attribute(
            TRAIN, TEST, out=tmp_path / "scores.npy", per_token="test"
        )
