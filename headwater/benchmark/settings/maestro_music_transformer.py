"""Music Transformer on MAESTRO: 5,000 windows of 256 events, 178 test windows.

The paper's model and optimizer. Its code takes the loss of the last event only, of windows that it
draws at random; here all events of fixed windows count, and tests are windows of real performances.
"""

from functools import partial

from torch.optim import Adam

from headwater.benchmark.datasets.events import VOCABULARY_SIZE
from headwater.benchmark.datasets.maestro import load_samples
from headwater.benchmark.datasets.samples import random_sequences
from headwater.benchmark.models.music_transformer import MusicTransformer
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.targets import cross_entropy, margin

SETTING = Setting(
    name="maestro-music-transformer",
    make_model=MusicTransformer,
    load_data=partial(load_samples, n_train=5000, n_test=178),
    loss=cross_entropy,  # the sum over a window's events
    targets={"loss": cross_entropy, "margin": margin},
    recipe=Recipe(
        1e-4, batch_size=64, epochs=20, optimizer=partial(Adam, betas=(0.9, 0.98), eps=1e-8)
    ),
    draw=partial(random_sequences, length=256, n_tokens=VOCABULARY_SIZE - 1),
)
