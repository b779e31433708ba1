"""ResNet-9 with an eighth of the channels on CIFAR-10: 1,000 images, minutes on two cores."""

import dataclasses
from functools import partial

from headwater.benchmark.datasets.cifar import load_cifar10
from headwater.benchmark.datasets.samples import random_images
from headwater.benchmark.models.resnet9 import ResNet9
from headwater.benchmark.settings.cifar2_resnet9_small import SETTING as CIFAR2

SETTING = dataclasses.replace(
    CIFAR2,
    name="cifar10-resnet9-small",
    make_model=partial(ResNet9, width=8, n_classes=10),
    load_data=load_cifar10,
    draw=partial(random_images, shape=(3, 32, 32), n_classes=10),
)
