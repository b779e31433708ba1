"""ResNet-9 with an eighth of the channels on CIFAR-2: 1,000 images, minutes on two cores."""

import dataclasses
from functools import partial

from torch.optim import SGD

from headwater.benchmark.models.resnet9 import ResNet9
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.cifar2_resnet9 import SETTING as WHOLE

SETTING = dataclasses.replace(
    WHOLE,
    name="cifar2-resnet9-small",
    make_model=partial(ResNet9, width=8),
    recipe=Recipe(0.02, batch_size=32, epochs=12, optimizer=partial(SGD, momentum=0.9)),
)
