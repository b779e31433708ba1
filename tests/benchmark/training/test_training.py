import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from headwater.benchmark.models.dropout import StatelessDropout
from headwater.benchmark.recipes import Checkpoint, Recipe
from headwater.benchmark.retraining import draw_subsets
from headwater.benchmark.training import derive_seed, train_epochs, train_model
from headwater.benchmark.training.draws import dropout_keys, epoch_draws, initial_model
from tests.benchmark.conftest import SETTINGS


def assert_same_state(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], **tolerance)


def train(setting, samples, seed=0, **options):
    return train_model(setting, samples.train_inputs, samples.train_labels, seed, **options)


def test_training_equals_a_loop_of_pytorch(setting, samples):
    recipe = setting.recipe
    model = initial_model(setting, 5, samples.train_inputs).train()
    flat = [p for p in model.parameters() if not recipe.decays(p)]
    groups = [{"params": [p for p in model.parameters() if recipe.decays(p)]}]
    groups += [{"params": flat, "weight_decay": 0.0}] if flat else []
    optimizer = recipe.optimizer(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    losses = []
    for epoch in range(1, recipe.epochs + 1):
        epoch_losses = []
        for draw in epoch_draws(recipe, 5, epoch, 25, model):
            for name, module in model.named_modules():
                if isinstance(module, StatelessDropout):
                    module.key.copy_(draw.keys[f"{name}.key"])
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * draw.factor
            inputs = draw.augmented(recipe, samples.train_inputs[draw.places])
            loss = nn.functional.cross_entropy(model(inputs), samples.train_labels[draw.places])
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            epoch_losses.append(loss.item())
        losses.append(np.mean(epoch_losses))
    trained = train(setting, samples, seed=5, epochs=range(1, recipe.epochs + 1))
    assert_same_state(
        trained[-1].state, model.state_dict(), rtol=0, atol=1e-6 if recipe.clip else 1e-12
    )
    assert [c.loss for c in trained] == pytest.approx(losses)
    assert trained[-1].learning_rate == optimizer.param_groups[0]["lr"]


def test_same_seed_same_bits_whatever_the_global_state(setting, samples):
    (first,) = train(setting, samples)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    (second,) = train(setting, samples)
    assert torch.equal(before, torch.random.get_rng_state())
    assert_same_state(first.state, second.state, rtol=0, atol=0)
    (other,) = train(setting, samples, seed=1)
    name = next(iter(first.state))
    assert not torch.equal(first.state[name], other.state[name])


def test_what_happens_between_epochs_changes_nothing(setting, samples):
    data = samples.train_inputs, samples.train_labels
    (wanted,) = train(setting, samples)
    for checkpoint in train_epochs(setting, *data, 0):
        torch.manual_seed(checkpoint.epoch)
        for tensor in checkpoint.state.values():
            tensor.add_(0)
    assert_same_state(checkpoint.state, wanted.state, rtol=0, atol=0)


def test_training_on_a_subset_is_training_on_its_rows(setting, samples):
    mask = draw_subsets(25, 0.5, 1, seed=3)[0]
    (by_mask,) = train(setting, samples, subset=mask)
    rows = np.flatnonzero(mask)
    (by_rows,) = train_model(setting, samples.train_inputs[rows], samples.train_labels[rows], 0)
    assert_same_state(by_mask.state, by_rows.state, rtol=0, atol=0)


def test_buffers_are_trained_and_kept(samples):
    setting = dataclasses.replace(
        SETTINGS["lr"],
        make_model=lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)),
    )
    mask = torch.arange(25) < 24  # BatchNorm takes no batch of one
    first, last = train(setting, samples, subset=mask, epochs=[1, -1])
    assert first.state["1.num_batches_tracked"] == 3 and last.state["1.num_batches_tracked"] == 9
    assert not torch.equal(first.state["1.running_mean"], last.state["1.running_mean"])


def test_training_stops_after_the_last_epoch_that_is_asked_for(setting, samples):
    first, second = train(setting, samples, epochs=[1, 2])
    assert (first.epoch, second.epoch) == (1, 2)
    whole = train(setting, samples, epochs=[2, -1])
    assert whole[-1].epoch == setting.recipe.epochs
    assert_same_state(whole[0].state, second.state, rtol=0, atol=0)


@pytest.mark.parametrize("epochs", [[], [0], [2, 1], [1, 1], [-1, 1], [9], [9, -1]])
def test_impossible_epochs_are_refused(samples, epochs):
    with pytest.raises(ValueError, match="epochs must ascend from 1 to the end of tiny-lr after 3"):
        train(SETTINGS["lr"], samples, epochs=epochs)


def own_loop(inputs, labels, seed, subset):
    torch.manual_seed(seed)
    model, rows = nn.Linear(5, 3).double(), subset.nonzero()[:, 0]
    optimizer = torch.optim.Adam(model.parameters())
    for epoch in range(1, 4):
        for batch in rows[torch.randperm(len(rows))].split(8):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        yield Checkpoint(epoch, 1e-3, {k: v.clone() for k, v in model.state_dict().items()})


def test_a_training_loop_of_ones_own_will_do(samples):
    setting = dataclasses.replace(SETTINGS["lr"], recipe=own_loop)
    mask = draw_subsets(25, 0.5, 1, seed=3)[0]
    first, last = train(setting, samples, subset=mask, epochs=[1, -1])
    assert (first.epoch, last.epoch, last.learning_rate) == (1, 3, 1e-3)
    (again,) = train(setting, samples, subset=mask)
    assert_same_state(last.state, again.state, rtol=0, atol=0)
    with pytest.raises(ValueError, match="must have an epoch 9, got none"):
        train(setting, samples, epochs=[2, 9])


def test_a_loop_that_diverges_is_stopped(samples):
    setting = dataclasses.replace(
        SETTINGS["lr"], recipe=lambda *run: iter([Checkpoint(1, 1.0, {}, float("inf"))])
    )
    with pytest.raises(FloatingPointError, match="must stay finite, got inf in epoch 1"):
        train(setting, samples)


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


def test_steps_of_an_epoch_go_on_where_the_last_one_ended():
    setting = SETTINGS["adamw"]
    model = setting.make_model()
    steps = [list(epoch_draws(setting.recipe, 0, epoch, 25, model)) for epoch in (1, 2, 3)]
    factors = [draw.factor for epoch in steps for draw in epoch]
    assert factors == [setting.recipe.schedule(step, 12) for step in range(12)]
    assert len({draw.seed for epoch in steps for draw in epoch}) == 12
    assert all(
        sorted(itertools.chain(*(draw.places.tolist() for draw in epoch))) == list(range(25))
        for epoch in steps
    )


def test_dropout_keys_differ_between_layers_steps_and_epochs():
    model = nn.Sequential(StatelessDropout(), nn.Linear(2, 2), StatelessDropout())
    keys = [dropout_keys(0, epoch, 10, model) for epoch in (1, 2)]
    assert [list(k) for k in keys] == [["0.key", "2.key"]] * 2
    words = torch.cat([words for k in keys for words in k.values()])
    assert len(words.unique()) == len(words)


def test_seeds_are_stable():
    assert derive_seed(0) == 5970667615949607468
    assert derive_seed(3, "subset", 1) == 4832649632194242834
    seeds = {derive_seed(b, *p) for b in (0, 1, -1) for p in ((), (1,), ("1",), (1, 1), ("a",))}
    assert len(seeds) == 15
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(0, "ab", "c") != derive_seed(0, "a", "bc")
