import pytest
import torch

from headwater.benchmark.datasets.samples import Samples
from headwater.benchmark.models.logistic_regression import LogisticRegression
from headwater.benchmark.models.mlp import MLP
from headwater.benchmark.settings.setting import Recipe, Setting
from headwater.targets import cross_entropy, margin


def make_lr():
    return LogisticRegression(5, 3)


def make_mlp():
    return MLP(5, (7, 6), 3, dropout=0.3)


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
        recipe=Recipe(0.1, batch_size=8, epochs=4, momentum=0.9, weight_decay=1e-2),
    ),
}


@pytest.fixture(params=SETTINGS)
def setting(request):
    return SETTINGS[request.param]


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(37, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (37,), generator=generator)
    return Samples(inputs[:25], labels[:25], inputs[25:], labels[25:])
