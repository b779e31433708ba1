import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from headwater.benchmark.retraining import (
    draw_subsets,
    evaluate_targets,
    leave_one_out,
    train_stacked,
)
from headwater.benchmark.retraining.stacked import is_stackable
from headwater.benchmark.training import train_model
from headwater.benchmark.training.draws import epoch_draws, epoch_order, initial_model
from tests.benchmark.conftest import SETTINGS


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-9)


def test_stacked_models_equal_single_ones(setting, samples):
    masks = draw_subsets(25, 0.5, 3, seed=0)
    seeds = [4, 5, 4]
    data = (samples.train_inputs, samples.train_labels)
    stack = train_stacked(setting, *data, seeds, masks, epochs=[1, -1])
    for seed, mask, trained in zip(seeds, masks, stack, strict=True):
        alone = train_model(setting, *data, seed, mask, epochs=[1, -1])
        assert len(trained) == len(alone) == 2
        for ours, theirs in zip(trained, alone, strict=True):
            assert (ours.epoch, ours.learning_rate) == (theirs.epoch, theirs.learning_rate)
            assert ours.loss == pytest.approx(theirs.loss, abs=1e-9)
            assert_same(ours.state, theirs.state)


def test_stack_on_all_samples(setting, samples):
    data = (samples.train_inputs, samples.train_labels)
    ((trained,),) = train_stacked(setting, *data, [2])
    (alone,) = train_model(setting, *data, 2)
    assert_same(trained.state, alone.state)


def test_stack_errors(setting, samples):
    data = (samples.train_inputs, samples.train_labels)
    uneven = np.ones((2, 25), bool)
    uneven[0, 3] = False
    with pytest.raises(ValueError, match="equal sizes, got 24 to 25"):
        train_stacked(setting, *data, [0, 1], uneven)
    with pytest.raises(ValueError, match="one row per seed"):
        train_stacked(setting, *data, [0], uneven)
    with pytest.raises(ValueError, match="at least one model"):
        train_stacked(setting, *data, [])
    buffered = dataclasses.replace(
        setting, make_model=lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    )
    with pytest.raises(ValueError, match=r"trainable parameters only, got 1\.num_batches_tracked"):
        train_stacked(buffered, *data, [0])
    assert is_stackable(setting) and not is_stackable(buffered)
    own = dataclasses.replace(setting, recipe=lambda *run: iter(()))
    assert not is_stackable(own)
    with pytest.raises(ValueError, match="must come from a Recipe, got a training loop of its own"):
        train_stacked(own, *data, [0])


def naive_leave_one_out(setting, samples, left_out, seed):
    """Train one model whose batches lack a sample; -1 leaves none out."""
    recipe = setting.recipe
    inputs, labels = samples.train_inputs, samples.train_labels
    model = initial_model(setting, seed, inputs).train()
    parameters = dict(model.named_parameters())
    optimizer = recipe.make_optimizer(model, parameters)
    for epoch in range(1, recipe.epochs + 1):
        for draw in epoch_draws(recipe, seed, epoch, len(inputs), model):
            batch = draw.places
            for name, word in draw.keys.items():
                dict(model.named_buffers())[name].copy_(word)
            losses = setting.loss(model, (draw.augmented(recipe, inputs[batch]), labels[batch]))
            # A dropout mask depends on the position: the sample stays in, its loss does not.
            present = losses[batch != left_out]
            loss = present.mean() if len(present) else 0.0 * losses.sum()
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            recipe.update(optimizer, list(parameters.values()), gradients, draw.factor)
    return evaluate_targets(setting, model.state_dict(), samples.test_inputs, samples.test_labels)


def outputs_without(setting, samples, removed, seed, models_at_once=None):
    """Return the targets of the full model, then of those that lack a sample."""
    data = (samples.train_inputs, samples.train_labels)
    states = leave_one_out(setting, *data, removed, seed, models_at_once)
    tests = (samples.test_inputs, samples.test_labels)
    values = [evaluate_targets(setting, state, *tests) for state in states]
    return {name: torch.stack([of[name] for of in values]) for name in setting.targets}


@pytest.mark.parametrize("models_at_once", [None, 2])
def test_leave_one_out_equals_a_loop(setting, samples, models_at_once):
    # 25 samples in batches of 8: the last batch of each epoch is a single sample.
    last_alone = int(epoch_order(7, 1, 25)[-1])
    removed = [3, last_alone, 0, 24]
    found = outputs_without(setting, samples, removed, 7, models_at_once)
    full = naive_leave_one_out(setting, samples, -1, 7)
    for name in setting.targets:
        assert found[name].shape == (5, 12)
        torch.testing.assert_close(found[name][0], full[name], rtol=0, atol=1e-9)
    for row, left_out in enumerate(removed, 1):
        expected = naive_leave_one_out(setting, samples, left_out, 7)
        for name in setting.targets:
            torch.testing.assert_close(found[name][row], expected[name], rtol=0, atol=1e-9)


def test_the_full_model_is_that_of_train_model(setting, samples):
    found = outputs_without(setting, samples, [0], 3)
    (trained,) = train_model(setting, samples.train_inputs, samples.train_labels, 3)
    expected = evaluate_targets(setting, trained.state, samples.test_inputs, samples.test_labels)
    for name in setting.targets:
        torch.testing.assert_close(found[name][0], expected[name], rtol=0, atol=1e-9)


def test_leaving_out_a_copy_changes_less_than_leaving_out_an_outlier(setting, samples):
    inputs = samples.train_inputs.clone()
    inputs[1] = 20.0
    found = outputs_without(setting, samples._replace(train_inputs=inputs), [0, 1], 0)["loss"]
    effects = (found[0] - found[1:]).abs().mean(1)
    assert effects[1] > effects[0] > 0


@pytest.mark.parametrize("removed", [[25], [-1], [], [[0]]])
def test_impossible_removals_are_refused(setting, samples, removed):
    with pytest.raises(ValueError, match=r"removed must hold indices in \[0, 25\)"):
        leave_one_out(setting, samples.train_inputs, samples.train_labels, removed, 0)


def test_tied_parameters_have_all_their_names(samples):
    def make():
        model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)).double()
        model[1].weight = model[0].weight
        return model

    tied = dataclasses.replace(SETTINGS["lr"], make_model=make)
    data = (samples.train_inputs, samples.train_labels)
    ((trained,),) = train_stacked(tied, *data, [2])
    assert_same(trained.state, train_model(tied, *data, 2)[0].state)
    full, _ = leave_one_out(tied, *data, [0], 2)
    assert_same(full, trained.state)
