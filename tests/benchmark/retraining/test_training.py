import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from headwater.benchmark.models.dropout import StatelessDropout
from headwater.benchmark.retraining import derive_seed, draw_subsets, evaluate_targets, train_model
from headwater.benchmark.retraining.schedule import (
    checkpoint_epochs,
    dropout_keys,
    epoch_order,
    initial_model,
)
from headwater.benchmark.settings.setting import Recipe


def assert_same_state(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], **tolerance)


def train(setting, samples, seed=0, **options):
    return train_model(setting, samples.train_inputs, samples.train_labels, seed, **options)


def test_training_equals_a_loop_with_the_optimiser_of_pytorch(setting, samples):
    recipe = setting.recipe
    model = initial_model(setting, 5, samples.train_inputs).train()
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    losses = []
    for epoch in range(1, recipe.epochs + 1):
        batches = epoch_order(5, epoch, 25).split(recipe.batch_size)
        keys = dropout_keys(5, epoch, len(batches), model)
        epoch_losses = []
        for step, batch in enumerate(batches):
            for name, module in model.named_modules():
                if isinstance(module, StatelessDropout):
                    module.key.copy_(keys[f"{name}.key"][step])
            logits = model(samples.train_inputs[batch])
            loss = nn.functional.cross_entropy(logits, samples.train_labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            epoch_losses.append(loss.item())
        losses.append(np.mean(epoch_losses))
    trained = train(setting, samples, seed=5)
    assert_same_state(trained.model_state, model.state_dict(), rtol=0, atol=1e-12)
    assert trained.losses == pytest.approx(losses)


def test_same_seed_same_bits_whatever_the_global_state(setting, samples):
    first = train(setting, samples)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    second = train(setting, samples)
    assert torch.equal(before, torch.random.get_rng_state())
    assert_same_state(first.model_state, second.model_state, rtol=0, atol=0)
    other = train(setting, samples, seed=1)
    name = next(iter(first.model_state))
    assert not torch.equal(first.model_state[name], other.model_state[name])


def test_training_on_a_subset_is_training_on_its_rows(setting, samples):
    mask = draw_subsets(25, 0.5, 1, seed=3)[0]
    by_mask = train(setting, samples, subset=mask)
    rows = np.flatnonzero(mask)
    by_rows = train_model(setting, samples.train_inputs[rows], samples.train_labels[rows], 0)
    assert_same_state(by_mask.model_state, by_rows.model_state, rtol=0, atol=0)


def test_checkpoints_are_evenly_spaced_and_end_with_the_result(setting, samples):
    trained = train(setting, samples, checkpoint_count=2)
    assert [c.epoch for c in trained.checkpoints] == checkpoint_epochs(setting.recipe.epochs, 2)
    assert {c.learning_rate for c in trained.checkpoints} == {0.1}
    assert_same_state(trained.checkpoints[-1].state, trained.model_state, rtol=0, atol=0)
    short = dataclasses.replace(setting.recipe, epochs=trained.checkpoints[0].epoch)
    early = train(dataclasses.replace(setting, recipe=short), samples)
    assert_same_state(trained.checkpoints[0].state, early.model_state, rtol=0, atol=0)
    assert train(setting, samples).checkpoints == []


def test_checkpoint_epochs():
    assert checkpoint_epochs(50, 10) == list(range(5, 51, 5))
    assert checkpoint_epochs(7, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert checkpoint_epochs(20, 3)[-1] == 20
    with pytest.raises(ValueError, match="between 0 and the 3 epochs, got 4"):
        checkpoint_epochs(3, 4)


def test_progress_is_told_every_epoch(setting, samples):
    told = []
    trained = train(setting, samples, progress=lambda epoch, loss: told.append((epoch, loss)))
    assert told == list(enumerate(trained.losses, start=1))


def test_divergence_is_an_error_with_its_epoch(setting, samples):
    wild = dataclasses.replace(setting, recipe=Recipe(1e308, batch_size=8, epochs=3))
    with pytest.raises(FloatingPointError, match=r"must stay finite, got .* in epoch \d"):
        train(wild, samples)


@pytest.mark.parametrize(
    "subset", [np.zeros(25, bool), np.ones(24, bool), np.ones(25), np.ones((1, 25), bool)]
)
def test_impossible_subsets_are_refused(setting, samples, subset):
    with pytest.raises(ValueError, match="subset must be a bool mask"):
        train(setting, samples, subset=subset)


def test_dropout_keys_differ_between_layers_steps_and_epochs():
    model = nn.Sequential(StatelessDropout(), nn.Linear(2, 2), StatelessDropout())
    keys = [dropout_keys(0, epoch, 10, model) for epoch in (1, 2)]
    assert [list(k) for k in keys] == [["0.key", "2.key"]] * 2
    words = torch.cat([words for k in keys for words in k.values()])
    assert len(words.unique()) == len(words)


def test_evaluation_ignores_batching_and_restores_the_mode(setting, samples):
    trained = train(setting, samples)
    model = initial_model(setting, 1, samples.test_inputs).train()
    arguments = (model, trained.model_state, setting, samples.test_inputs, samples.test_labels)
    whole = evaluate_targets(*arguments)
    parts = evaluate_targets(*arguments, batch_size=5)
    assert model.training
    model.load_state_dict(trained.model_state)
    model.eval()
    assert whole.keys() == setting.targets.keys()
    for name, target in setting.targets.items():
        expected = target(model, (samples.test_inputs, samples.test_labels)).detach()
        torch.testing.assert_close(whole[name], expected)
        torch.testing.assert_close(parts[name], expected)


def test_seeds_are_stable():
    assert derive_seed(0) == 5970667615949607468
    assert derive_seed(3, "subset", 1) == 4832649632194242834
    seeds = {derive_seed(b, *p) for b in (0, 1, -1) for p in ((), (1,), ("1",), (1, 1), ("a",))}
    assert len(seeds) == 15
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "ab", "c") != derive_seed(0, "a", "bc")
