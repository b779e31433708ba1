"""nanoGPT on Tiny Shakespeare: 3,921 blocks of 256 characters, 435 test blocks.

The paper trains for 5,000 steps of 32 blocks (41 epochs) and keeps the step with the best loss on
the test blocks; here training ends after as many epochs, whatever the loss.
"""

from functools import partial

import torch
from torch.optim import AdamW

from headwater.benchmark.datasets.samples import random_sequences
from headwater.benchmark.datasets.shakespeare import load_samples
from headwater.benchmark.models.nanogpt import NanoGPT
from headwater.benchmark.recipes import Recipe, matrices
from headwater.benchmark.recipes.schedules import cosine
from headwater.benchmark.settings.setting import Setting
from headwater.targets import cross_entropy, margin

LENGTH = 256

RECIPE = Recipe(
    1e-3,
    batch_size=32,
    epochs=41,
    optimizer=partial(AdamW, betas=(0.9, 0.99)),
    weight_decay=0.1,
    decays=matrices,
    schedule=cosine(warmup=100, final=0.1),
    clip=1.0 * LENGTH,  # of a mean over characters: 1
    autocast=torch.bfloat16,
)

SETTING = Setting(
    name="shakespeare-nanogpt",
    make_model=partial(NanoGPT, length=LENGTH),
    load_data=partial(load_samples, length=LENGTH),
    loss=cross_entropy,  # the sum over a block's characters
    targets={"loss": cross_entropy, "margin": margin},
    recipe=RECIPE,
    draw=partial(random_sequences, length=LENGTH, n_tokens=65),
)
