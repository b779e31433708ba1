"""Which samples are removed, and bisection, against slow loops and problems whose answer is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from headwater import AttributionTask, targets
from headwater.attributors import GradDot
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.removal.design import (
    flip_share,
    most_helpful,
    next_count,
    without_first,
)
from headwater.benchmark.removal.evaluation import RemovalEvaluation
from headwater.benchmark.retraining.evaluation import evaluate_targets, predicts_labels
from headwater.benchmark.settings import get_setting
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training import train_model
from headwater.helpful import SIGNS


def test_every_target_of_our_settings_has_a_sign_and_it_is_that_of_better_predictions():
    for name in ("mnist-lr", "mnist-mlp"):
        assert set(get_setting(name).targets) <= set(SIGNS)
    labels = torch.tensor([1])
    batch = (torch.zeros(1, 2), labels)
    worse, better = (lambda x, z=z: torch.tensor([[0.0, z]]) for z in (0.5, 2.0))
    for name, target in get_setting("mnist-lr").targets.items():
        change = float(target(better, batch) - target(worse, batch))
        assert np.sign(change) == SIGNS[name], name


def test_the_order_is_that_of_a_sort_and_ties_keep_their_places():
    scores = np.array([0.0, 2.0, -1.0, 2.0])
    assert most_helpful(scores, "margin").tolist() == [1, 3, 0, 2]
    assert most_helpful(scores, "loss").tolist() == [2, 0, 1, 3]


@pytest.mark.parametrize(
    ("scores", "function", "message"),
    [([1.0], "entropy", "must be one of loss, .* got 'entropy'"), ([np.nan], "loss", "finite")],
)
def test_what_cannot_be_ranked_is_refused(scores, function, message):
    with pytest.raises(ValueError, match=message):
        most_helpful(np.array(scores), function)


@pytest.mark.parametrize("count", [0, 3, -1])
def test_all_or_nothing_is_not_removed(count):
    with pytest.raises(ValueError, match=f"1 to 2 of 3 samples, got {count}"):
        without_first(np.arange(3), count)


@given(
    truth=st.integers(0, 120), largest=st.integers(1, 100), precision=st.integers(1, 20),
    before=st.sets(st.integers(1, 100), max_size=3),
)  # fmt: skip
def test_bisection_finds_the_smallest_number_that_a_scan_finds(truth, largest, precision, before):
    """A prediction that is right while fewer than `truth` samples are gone."""
    known = {count: count < truth for count in {0, *before}}
    steps = 0
    while (count := next_count(known, largest, precision)) is not None:
        assert count not in known and 0 < count <= largest
        known[count] = count < truth
        steps += 1
    assert steps <= 1 + np.log2(largest) + 1
    scan = next((k for k in range(1, largest + 1) if k >= truth), None)
    found = flip_share(known, largest, 200)
    if truth == 0:
        assert np.isnan(found) and steps == 0
    elif scan is None:
        assert np.isinf(found)
    else:
        assert scan <= round(found * 200) < scan + precision


def test_predictions_are_the_most_probable_classes_at_all_positions():
    logits = torch.tensor([[[0.0, 1], [1, 0]], [[0, 1], [0, 1]], [[1, 0], [0, 1]]])
    labels = torch.tensor([[1, 0], [1, 0], [-100, 1]])
    assert predicts_labels(lambda x: logits, (logits, labels)).tolist() == [True, False, True]
    one = predicts_labels(lambda x: logits[:, 0], (logits, torch.tensor([1, 0, 0])))
    assert one.tolist() == [True, False, True]


class Linear(nn.Module):
    """Logits of two classes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)


def lone_sample():
    """Class 1 is carried by sample 4 alone: without it nothing says what the second input means."""
    inputs = torch.zeros(12, 3)
    inputs[:, 0] = 1.0
    inputs[4] = torch.tensor([0.0, 6.0, 0.0])
    labels = torch.zeros(12, dtype=torch.int64)
    labels[4] = 1
    named = {"loss": targets.cross_entropy, "margin": targets.margin, "right": predicts_labels}
    setting = Setting(
        "lone", Linear, None, targets.cross_entropy, named, Recipe(0.3, batch_size=12, epochs=60)
    )
    query = (torch.tensor([[0.0, 3.0, 0.0]]), torch.tensor([1]))
    return setting, inputs, labels, query


@pytest.mark.parametrize("function", ["loss", "margin"])
def test_the_sample_that_alone_carries_a_class_is_removed_first_and_flips_it(function):
    setting, inputs, labels, query = lone_sample()

    def outputs(mask):
        (end,) = train_model(setting, inputs, labels, 0, mask)
        return evaluate_targets(setting, end.state, *query)

    (end,) = train_model(setting, inputs, labels, 0)
    method = GradDot(AttributionTask(Linear(), setting.loss, checkpoints=[end.state]))
    method.cache([(inputs, labels)])
    scores = method.attribute([(inputs, labels)], [query])
    if function == "margin":  # ∇loss = -(1 - p) ∇margin
        scores = -scores
    order = most_helpful(np.asarray(scores)[:, 0], function)
    assert order[0] == 4
    full, without = outputs(np.ones(12, bool)), outputs(without_first(order, 1))
    chance = outputs(without_first(np.array([0, *range(1, 12)]), 1))
    assert full["right"].item() and chance["right"].item() and not without["right"].item()
    loss = np.array([[float(o["loss"])] for o in (full, chance, without)])
    right = np.array([[bool(o["right"])] for o in (full, chance, without)])
    design = {
        "queries": [0], "n_train": 12, "counts": [1], "largest": 3, "full": [0], "random": [[1]],
        "methods": {"grad-dot": {"function": function, "top": [[[2]]], "steps": [{0: 0, "1": 2}]}},
    }  # fmt: skip
    found = RemovalEvaluation(design, loss, right, {"replicates": 10}).of("grad-dot")
    assert found["qld_8_3333pct"]["value"] == pytest.approx(loss[2, 0] - loss[1, 0], abs=1e-3)
    assert found["qld_8_3333pct"]["value"] > 0.5
    assert found["brittleness"]["value"] == pytest.approx(1 / 12, abs=1e-3)
    assert found["removal"]["right"] == found["removal"]["flipped"] == 1
