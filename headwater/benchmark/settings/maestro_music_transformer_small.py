"""A Music Transformer of two layers on MAESTRO: 1,000 windows of 64 events, for two cores."""

import dataclasses
from functools import partial

from torch.optim import Adam

from headwater.benchmark.datasets.events import VOCABULARY_SIZE
from headwater.benchmark.datasets.maestro import load_samples
from headwater.benchmark.datasets.samples import random_sequences
from headwater.benchmark.models.music_transformer import MusicTransformer
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.recipes.schedules import cosine
from headwater.benchmark.settings.maestro_music_transformer import SETTING as WHOLE

LENGTH = 64

SETTING = dataclasses.replace(
    WHOLE,
    name="maestro-music-transformer-small",
    make_model=partial(
        MusicTransformer, length=LENGTH, n_layers=2, n_heads=4, width=32, hidden=64, dropout=0.0
    ),
    load_data=partial(load_samples, length=LENGTH, n_train=1000, n_test=200),
    recipe=Recipe(
        3e-3,
        batch_size=16,
        epochs=10,
        optimizer=partial(Adam, betas=(0.9, 0.98)),
        schedule=cosine(warmup=20, final=0.1),
    ),
    draw=partial(random_sequences, length=LENGTH, n_tokens=VOCABULARY_SIZE - 1),
)
