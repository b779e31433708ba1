"""A replayed run is the run, bit for bit, backwards."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from headwater import AttributionTask, targets
from headwater.attributors import DataValueEmbedding
from headwater.benchmark.retraining import draw_subsets
from headwater.benchmark.training import Replay, train_model
from headwater.benchmark.training.draws import epoch_order
from tests.benchmark.conftest import SETTINGS


def _same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_end_of_the_run_is_that_of_training(plain_setting, samples) -> None:
    train = samples.train_inputs, samples.train_labels
    (trained,) = train_model(plain_setting, *train, 5)
    assert _same(Replay(plain_setting, *train, seed=5).final_state(), trained.state)


def test_the_steps_before_an_epoch_are_the_checkpoints(plain_setting, samples) -> None:
    train = samples.train_inputs, samples.train_labels
    epochs = plain_setting.recipe.epochs
    trained = train_model(plain_setting, *train, 5, epochs=range(1, epochs + 1))
    replay = Replay(plain_setting, *train, seed=5)
    steps = list(reversed(replay))[::-1]
    assert len(steps) == len(replay) == 4 * epochs  # 25 samples, 8 a batch
    for checkpoint in trained[:-1]:
        assert _same(steps[4 * checkpoint.epoch].parameters, checkpoint.state)
    for epoch in range(1, epochs + 1):
        rows = torch.cat([step.rows for step in steps[4 * epoch - 4 : 4 * epoch]])
        assert torch.equal(rows, epoch_order(5, epoch, 25))


def test_momentum_gives_the_rate_that_a_gradient_has_in_the_end(samples) -> None:
    train = samples.train_inputs, samples.train_labels
    steps = list(reversed(Replay(SETTINGS["mlp"], *train, seed=0)))
    assert {step.learning_rate for step in steps} == {0.1 / (1.0 - 0.9)}
    assert {step.weight_decay for step in steps} == {1e-2}
    steps = list(reversed(Replay(SETTINGS["lr"], *train, seed=0)))
    assert {step.learning_rate for step in steps} == {0.1}


@pytest.mark.parametrize("size", [1, 5, 25])
def test_a_subset_gives_places_among_all_samples(plain_setting, samples, size: int) -> None:
    plain_setting = dataclasses.replace(
        plain_setting, recipe=dataclasses.replace(plain_setting.recipe, batch_size=size)
    )
    train = samples.train_inputs, samples.train_labels
    mask = draw_subsets(25, 0.5, 1, seed=3)[0]
    replay = Replay(plain_setting, *train, seed=2, subset=mask)
    (trained,) = train_model(plain_setting, *train, 2, subset=mask)
    assert _same(replay.final_state(), trained.state)
    steps = list(reversed(replay))
    assert len(steps) == len(replay)
    seen = torch.cat([step.rows for step in steps])
    assert set(seen.tolist()) == set(mask.nonzero()[0].tolist())


def test_a_replay_leaves_the_global_generator_alone_and_repeats_itself(
    plain_setting, samples
) -> None:
    train = samples.train_inputs, samples.train_labels
    replay, before = Replay(plain_setting, *train, seed=5), torch.get_rng_state()
    first = [step.parameters for step in reversed(replay)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(9)
    assert all(
        _same(step.parameters, state) for step, state in zip(reversed(replay), first, strict=True)
    )


def test_layers_that_draw_from_the_global_generator_are_replayed(samples) -> None:
    def make():
        return torch.nn.Sequential(
            torch.nn.Linear(5, 6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 3)
        )

    setting = dataclasses.replace(SETTINGS["lr"], make_model=make)
    train = samples.train_inputs, samples.train_labels
    trained = train_model(setting, *train, 5, epochs=[2, 3])
    replay = Replay(setting, *train, seed=5)
    assert _same(replay.final_state(), trained[-1].state)
    steps = list(reversed(replay))[::-1]
    assert _same(steps[8].parameters, trained[0].state)


def test_an_empty_subset_is_refused(plain_setting, samples) -> None:
    train = samples.train_inputs, samples.train_labels
    with pytest.raises(ValueError, match="subset must be a bool mask"):
        Replay(plain_setting, *train, seed=0, subset=torch.zeros(25, dtype=torch.bool))


def test_a_replayed_run_can_be_followed(plain_setting, samples) -> None:
    train = samples.train_inputs, samples.train_labels
    replay = Replay(plain_setting, *train, seed=3)
    (trained,) = train_model(plain_setting, *train, 3)
    task = AttributionTask(
        plain_setting.make_model().double(), plain_setting.loss, targets.margin, [trained.state]
    )
    test = [(samples.test_inputs, samples.test_labels)]
    attributor = DataValueEmbedding(task, replay)
    scores = attributor.cache([train]).attribute([train], test)
    listed = list(reversed(list(reversed(replay))))
    again = DataValueEmbedding(task, listed).cache([train]).attribute([train], test)
    assert torch.equal(scores, again)
    same = samples.train_labels[:, None] == samples.test_labels
    assert float(scores[same].mean()) > float(scores[~same].mean())


def test_other_optimizers_and_augmented_samples_cannot_be_followed(samples) -> None:
    train = samples.train_inputs, samples.train_labels
    for name in ("adamw", "augmented"):
        with pytest.raises(
            ValueError, match="a replay must follow plain gradient descent, got tiny-"
        ):
            Replay(SETTINGS[name], *train, seed=0)
