"""A setting: a perceptron on the wine data set of scikit-learn."""

from functools import partial
from pathlib import Path

import torch
from sklearn.datasets import load_wine
from torch import nn

from headwater.benchmark.datasets.samples import Samples
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.targets import cross_entropy, margin


def make_model() -> nn.Module:
    """Return a fresh model; its parameters come from the global random state."""
    return nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Linear(16, 3))


def load_data(data: Path) -> Samples:
    """Return 120 training and 58 test samples; nothing of the folder `data` is needed."""
    features, labels = load_wine(return_X_y=True)
    x = torch.from_numpy((features - features.mean(0)) / features.std(0)).float()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], torch.from_numpy(labels).long()[order]
    return Samples(x[:120], y[:120], x[120:], y[120:])


SETTING = Setting(
    name="wine",
    make_model=make_model,
    load_data=load_data,
    loss=cross_entropy,
    targets={"loss": cross_entropy, "margin": margin},
    recipe=Recipe(0.05, batch_size=16, epochs=8, optimizer=partial(torch.optim.SGD, momentum=0.9)),
)
