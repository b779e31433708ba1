"""Logistic regression on MNIST-10: 5,000 train samples, 500 test samples."""

from functools import partial

from headwater.benchmark.datasets.mnist import load_samples
from headwater.benchmark.datasets.samples import random_images
from headwater.benchmark.models.logistic_regression import LogisticRegression
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.targets import cross_entropy, log_probability, logit, margin

SETTING = Setting(
    name="mnist-lr",
    make_model=LogisticRegression,
    load_data=load_samples,
    loss=cross_entropy,
    targets={
        "loss": cross_entropy,
        "margin": margin,
        "logit": logit,
        "log_probability": log_probability,
    },
    recipe=Recipe(learning_rate=0.01, batch_size=32, epochs=20),
    draw=partial(random_images, shape=(784,), n_classes=10),
)
