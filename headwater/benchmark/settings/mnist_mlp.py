"""Multi-layer perceptron on MNIST-10: 5,000 train samples, 500 test samples."""

from functools import partial

from torch.optim import SGD

from headwater.benchmark.datasets.mnist import load_samples
from headwater.benchmark.datasets.samples import random_images
from headwater.benchmark.models.mlp import MLP
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.targets import cross_entropy, log_probability, logit, margin

SETTING = Setting(
    name="mnist-mlp",
    make_model=MLP,
    load_data=load_samples,
    loss=cross_entropy,
    targets={
        "loss": cross_entropy,
        "margin": margin,
        "logit": logit,
        "log_probability": log_probability,
    },
    recipe=Recipe(0.01, batch_size=64, epochs=50, optimizer=partial(SGD, momentum=0.9)),
    draw=partial(random_images, shape=(784,), n_classes=10),
)
