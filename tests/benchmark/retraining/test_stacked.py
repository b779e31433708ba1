import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from headwater.benchmark.retraining import (
    draw_subsets,
    evaluate_many,
    evaluate_targets,
    leave_one_out,
    train_model,
    train_stacked,
)
from headwater.benchmark.retraining.descent import sgd_step
from headwater.benchmark.retraining.schedule import dropout_keys, epoch_order, initial_model


def test_stacked_models_equal_single_ones(setting, samples):
    masks = draw_subsets(25, 0.5, 3, seed=0)
    seeds = [4, 5, 4]
    data = (samples.train_inputs, samples.train_labels)
    stack = train_stacked(setting, *data, seeds, masks, checkpoint_count=2)
    for seed, mask, trained in zip(seeds, masks, stack, strict=True):
        alone = train_model(setting, *data, seed, mask, checkpoint_count=2)
        assert trained.losses == pytest.approx(alone.losses, abs=1e-9)
        states = [(trained.model_state, alone.model_state)]
        for ours, theirs in zip(trained.checkpoints, alone.checkpoints, strict=True):
            assert (ours.epoch, ours.learning_rate) == (theirs.epoch, theirs.learning_rate)
            states.append((ours.state, theirs.state))
        for ours, theirs in states:
            assert ours.keys() == theirs.keys()
            for name in ours:
                torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-9)


def test_stack_on_all_samples(setting, samples):
    data = (samples.train_inputs, samples.train_labels)
    (trained,) = train_stacked(setting, *data, [2])
    alone = train_model(setting, *data, 2)
    for name in alone.model_state:
        torch.testing.assert_close(
            trained.model_state[name], alone.model_state[name], rtol=0, atol=1e-9
        )


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


def naive_leave_one_out(setting, samples, left_out, seed):
    """Train one model whose batches lack a sample; -1 leaves none out."""
    recipe = setting.recipe
    inputs, labels = samples.train_inputs, samples.train_labels
    model = initial_model(setting, seed, inputs).train()
    parameters = list(model.parameters())
    velocities = [torch.zeros_like(p) for p in parameters]
    buffers = dict(model.named_buffers())
    for epoch in range(1, recipe.epochs + 1):
        batches = epoch_order(seed, epoch, len(inputs)).split(recipe.batch_size)
        keys = dropout_keys(seed, epoch, len(batches), model)
        for step, batch in enumerate(batches):
            for name, words in keys.items():
                buffers[name].copy_(words[step])
            losses = setting.loss(model, (inputs[batch], labels[batch]))
            # A dropout mask depends on the position: the sample stays in, its loss does not.
            present = losses[batch != left_out]
            loss = present.mean() if len(present) else 0.0 * losses.sum()
            sgd_step(parameters, torch.autograd.grad(loss, parameters), velocities, recipe)
    return evaluate_targets(
        model, model.state_dict(), setting, samples.test_inputs, samples.test_labels
    )


def outputs_without(setting, samples, removed, seed, models_at_once=None):
    """Return the targets of the full model, then of those that lack a sample."""
    data = (samples.train_inputs, samples.train_labels)
    stacked = leave_one_out(setting, *data, removed, seed, models_at_once)
    return evaluate_many(setting, stacked, samples.test_inputs, samples.test_labels)


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
    trained = train_model(setting, samples.train_inputs, samples.train_labels, 3)
    model = initial_model(setting, 0, samples.test_inputs)
    expected = evaluate_targets(
        model, trained.model_state, setting, samples.test_inputs, samples.test_labels
    )
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
