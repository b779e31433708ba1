from functools import partial

import pytest
import torch

from headwater.benchmark.datasets.samples import Samples
from headwater.benchmark.models.logistic_regression import LogisticRegression
from headwater.benchmark.models.mlp import MLP
from headwater.benchmark.recipes import Recipe, matrices
from headwater.benchmark.recipes.schedules import cosine, one_cycle
from headwater.benchmark.settings.setting import Setting
from headwater.targets import cross_entropy, margin


def make_lr():
    return LogisticRegression(5, 3)


def make_mlp():
    return MLP(5, (7, 6), 3, dropout=0.3)


def jitter(inputs, generator):
    return inputs + 0.1 * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)


SETTINGS = {
    "lr": Setting(
        name="tiny-lr",
        make_model=make_lr,
        load_data=lambda path: None,
        loss=cross_entropy,
        targets={"loss": cross_entropy, "margin": margin},
        recipe=Recipe(0.1, batch_size=8, epochs=3),
    ),
    "mlp": Setting(
        name="tiny-mlp",
        make_model=make_mlp,
        load_data=lambda path: None,
        loss=cross_entropy,
        targets={"loss": cross_entropy, "margin": margin},
        recipe=Recipe(0.1, 8, 4, partial(torch.optim.SGD, momentum=0.9), weight_decay=1e-2),
    ),
    "adamw": Setting(
        name="tiny-adamw",
        make_model=make_mlp,
        load_data=lambda path: None,
        loss=cross_entropy,
        targets={"loss": cross_entropy, "margin": margin},
        recipe=Recipe(
            0.01, 8, 3, torch.optim.AdamW, 0.1, matrices, cosine(warmup=3, final=0.1), clip=0.5
        ),
    ),
    "augmented": Setting(
        name="tiny-augmented",
        make_model=make_mlp,
        load_data=lambda path: None,
        loss=cross_entropy,
        targets={"loss": cross_entropy, "margin": margin},
        recipe=Recipe(0.1, 8, 3, schedule=one_cycle(), augment=jitter),
    ),
}
PLAIN = ("lr", "mlp")
"""Those that are trained by plain gradient descent."""


@pytest.fixture(params=SETTINGS)
def setting(request):
    return SETTINGS[request.param]


@pytest.fixture(params=PLAIN)
def plain_setting(request):
    return SETTINGS[request.param]


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(37, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (37,), generator=generator)
    return Samples(inputs[:25], labels[:25], inputs[25:], labels[25:])
