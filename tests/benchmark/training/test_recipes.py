import dataclasses
import itertools
from functools import partial

import pytest
import torch
from torch import Generator, nn

from headwater.benchmark.recipes import Recipe, matrices
from headwater.benchmark.recipes.augmentation import crop_and_flip
from headwater.benchmark.recipes.schedules import constant, cosine, one_cycle


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"batch_size": 0},
        {"epochs": 0},
        {"weight_decay": -1.0},
        {"clip": 0.0},
    ],
)
def test_impossible_recipes_are_refused(change):
    with pytest.raises(ValueError, match="a recipe needs"):
        dataclasses.replace(Recipe(0.1, batch_size=2, epochs=1), **change)


def test_weight_decay_is_for_the_parameters_that_decay():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    recipe = Recipe(0.1, 2, 1, torch.optim.AdamW, weight_decay=0.3, decays=matrices)
    groups = recipe.make_optimizer(model, dict(model.named_parameters())).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.3), (3, 0.0)]


def test_each_model_of_a_stack_is_clipped_by_itself():
    recipe = Recipe(1.0, 2, 1, clip=1.0)
    gradients = [torch.tensor([[3.0], [0.3]]), torch.tensor([[[4.0]], [[0.4]]])]
    stacks = [torch.zeros_like(g) for g in gradients]
    optimizer = recipe.optimizer(stacks, lr=1.0)
    recipe.update(optimizer, stacks, gradients, 0.5, stacked=True)
    torch.testing.assert_close(stacks[0].flatten(), torch.tensor([-0.3, -0.15]))
    torch.testing.assert_close(stacks[1].flatten(), torch.tensor([-0.4, -0.2]))


def test_schedules_start_peak_and_end_where_they_should():
    assert {constant(step, 9) for step in range(9)} == {1.0}
    factors = [cosine(warmup=3, final=0.1)(step, 103) for step in range(104)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0] and factors[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(factors[3:]))
    factors = [one_cycle(0.25, 0.1, 0.0)(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == factors[25] == 1.0
    assert factors[-1] == pytest.approx(0.0)


def test_images_are_shifted_and_mirrored_as_drawn():
    images = torch.arange(2.0 * 3 * 5 * 4).view(2, 3, 5, 4) + 1
    augment = crop_and_flip(padding=1)
    seen = augment(images, Generator().manual_seed(3))
    assert seen.shape == images.shape
    assert torch.equal(seen, augment(images, Generator().manual_seed(3)))
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    for image, changed in zip(padded, seen, strict=True):
        possible = [
            crop.flip(2) if flip else crop
            for top in range(3)
            for left in range(3)
            for flip in (False, True)
            for crop in [image[:, top : top + 5, left : left + 4]]
        ]
        assert sum(torch.equal(changed, crop) for crop in possible) == 1
    many = torch.stack([augment(images, Generator().manual_seed(s)) for s in range(40)])
    assert len(torch.unique(many.flatten(1), dim=0)) > 20


def test_an_optimizer_takes_its_options_with_it():
    model = nn.Linear(2, 2)
    recipe = Recipe(0.1, 2, 1, partial(torch.optim.SGD, momentum=0.9, nesterov=True))
    optimizer = recipe.make_optimizer(model, dict(model.named_parameters()))
    assert optimizer.param_groups[0]["nesterov"] and optimizer.param_groups[0]["lr"] == 0.1
