"""What holds for every model of the benchmark: gradients by rules, dropout by keys, runs by seeds."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch.func import functional_call, vmap

from headwater import AttributionTask
from headwater.benchmark.models.dropout import StatelessDropout
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training import train_model
from headwater.benchmark.training.draws import dropout_keys
from headwater.gradients import GradientCapture
from headwater.targets import cross_entropy, margin
from tests import reference
from tests.benchmark.models.tiny_models import SEQUENCES, TINY, randomised, set_keys
from tests.precision import assert_close


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("function", [cross_entropy, margin])
@pytest.mark.parametrize("name", TINY)
def test_gradients_per_sample_come_from_rules_alone_and_are_exact(name, function):
    model, batch = randomised(TINY[name].make()), TINY[name].draw(4)
    task = AttributionTask(model, function)
    capture = GradientCapture(task.bind(), task.loss)
    found = capture(batch)
    assert capture.without_rule == ()
    wanted = reference.per_sample_gradients(model, function, batch)
    assert_close(found.dense(), wanted, torch.float64)


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_dropout_follows_its_keys_and_is_off_in_eval_mode(name):
    model, (inputs, _) = randomised(TINY[name].make()), TINY[name].draw(4)
    set_keys(model.eval(), 0)
    plain = model(inputs)
    set_keys(model, 100)
    assert torch.equal(model(inputs), plain)
    model.train()
    first = model(inputs)
    torch.manual_seed(5)
    torch.testing.assert_close(model(inputs), first, rtol=0, atol=0)
    set_keys(model, 200)
    assert not torch.allclose(model(inputs), first)


@pytest.mark.parametrize("name", TINY)
def test_every_dropout_layer_has_a_key_of_its_own_and_is_called_once(name):
    model, (inputs, _) = TINY[name].make().double().train(), TINY[name].draw(4)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, StatelessDropout)}
    assert dropout_keys(0, 1, 3, model).keys() == {f"{n}.key" for n in layers}
    calls = Counter()
    for layer_name, layer in layers.items():
        layer.register_forward_hook(lambda *_, layer_name=layer_name: calls.update([layer_name]))
    model(inputs)
    # A layer that is called twice a pass would drop the same elements twice.
    assert calls == dict.fromkeys(layers, 1)
    assert len(layers) == TINY[name].n_dropouts


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_every_dropout_layer_has_an_effect(name):
    model, (inputs, _) = randomised(TINY[name].make()), TINY[name].draw(4)
    model.train()
    before = model(inputs)
    for layer in (m for m in model.modules() if isinstance(m, StatelessDropout)):
        layer.key.fill_(3)
        changed = model(inputs)
        assert not torch.allclose(changed, before)
        before = changed


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_logits_of_a_sample_do_not_depend_on_the_others_in_eval_mode(name):
    model, (inputs, _) = randomised(TINY[name].make()).eval(), TINY[name].draw(4)
    alone = torch.cat([model(one[None]) for one in inputs])
    assert_close(model(inputs), alone, torch.float64)


@pytest.mark.parametrize("name", TINY)
def test_a_run_follows_its_seed(name):
    tiny = TINY[name]
    recipe = Recipe(0.01, batch_size=4, epochs=2)
    setting = Setting(name, tiny.make, lambda path: None, cross_entropy, {}, recipe)
    inputs, labels = tiny.draw(10)
    runs = [train_model(setting, inputs, labels, seed, epochs=[1, 2]) for seed in (1, 1, 2)]
    first, again, other = (run[-1].state for run in runs)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    assert runs[0][1].loss < runs[0][0].loss


@pytest.mark.parametrize("name", SEQUENCES)
@torch.no_grad()
def test_models_of_sequences_can_be_stacked(name):
    models = [randomised(SEQUENCES[name].make()).train() for _ in range(3)]
    inputs = torch.stack([SEQUENCES[name].draw(2)[0] for _ in models])
    for i, model in enumerate(models):
        set_keys(model, 10 * i)
    tensors = [dict(model.named_parameters()) | dict(model.named_buffers()) for model in models]
    stacked = {key: torch.stack([t[key].detach() for t in tensors]) for key in tensors[0]}
    template = copy.deepcopy(models[0])
    found = vmap(lambda state, x: functional_call(template, state, (x,)))(stacked, inputs)
    wanted = torch.stack([model(x) for model, x in zip(models, inputs, strict=True)])
    assert_close(found, wanted, torch.float64)


@pytest.mark.parametrize("length", [1, 5, 8])
@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_a_later_token_changes_no_earlier_logit(name, training, length):
    model = randomised(SEQUENCES[name].make()).train(training)
    inputs = torch.randint(11, (1, length))
    logits = model(inputs)
    assert logits.shape == (1, length, 11)
    for t in range(length):
        changed = inputs.clone()
        changed[0, t] = (inputs[0, t] + 1) % 11
        moved = (model(changed) - logits).abs().amax(2)[0]
        assert moved[:t].tolist() == [0.0] * t
        assert moved[t] > 0


@pytest.mark.parametrize("name", SEQUENCES)
@torch.no_grad()
def test_an_earlier_token_changes_all_later_logits(name):
    model = randomised(SEQUENCES[name].make()).eval()
    inputs = torch.randint(11, (1, 8))
    changed = inputs.clone()
    changed[0, 0] = (inputs[0, 0] + 1) % 11
    assert ((model(changed) - model(inputs)).abs().amax(2) > 1e-6).all()


@pytest.mark.parametrize("name", SEQUENCES)
def test_too_long_inputs_and_unequal_heads_are_refused(name):
    model = SEQUENCES[name].make()
    with pytest.raises(ValueError, match="at most 8 positions, got 9"):
        model(torch.zeros(1, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match="multiple of n_heads, got 10 and 4"):
        type(model)(width=10, n_heads=4)
