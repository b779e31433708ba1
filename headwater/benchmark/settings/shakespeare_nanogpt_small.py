"""A nanoGPT of one layer on Tiny Shakespeare: 1,000 blocks of 64 characters, for two cores."""

import dataclasses
from functools import partial

from headwater.benchmark.datasets.samples import random_sequences
from headwater.benchmark.datasets.shakespeare import load_samples
from headwater.benchmark.models.nanogpt import NanoGPT
from headwater.benchmark.recipes.schedules import cosine
from headwater.benchmark.settings.shakespeare_nanogpt import RECIPE
from headwater.benchmark.settings.shakespeare_nanogpt import SETTING as WHOLE

LENGTH = 64

SETTING = dataclasses.replace(
    WHOLE,
    name="shakespeare-nanogpt-small",
    make_model=partial(NanoGPT, length=LENGTH, n_layers=1, n_heads=4, width=48, dropout=0.1),
    load_data=partial(load_samples, length=LENGTH),
    recipe=dataclasses.replace(
        RECIPE,
        learning_rate=5e-3,
        batch_size=16,
        epochs=10,
        schedule=cosine(warmup=20, final=0.1),
        clip=1.0 * LENGTH,
        autocast=None,
    ),
    draw=partial(random_sequences, length=LENGTH, n_tokens=65),
)
