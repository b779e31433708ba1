"""ResNet-9 on CIFAR-10: 5,000 images of ten classes, 500 test images, for finding wrong labels."""

import dataclasses
from functools import partial

from headwater.benchmark.datasets.cifar import load_cifar10
from headwater.benchmark.datasets.samples import random_images
from headwater.benchmark.models.resnet9 import ResNet9
from headwater.benchmark.settings.cifar2_resnet9 import SETTING as CIFAR2

SETTING = dataclasses.replace(
    CIFAR2,
    name="cifar10-resnet9",
    make_model=partial(ResNet9, n_classes=10),
    load_data=load_cifar10,
    draw=partial(random_images, shape=(3, 32, 32), n_classes=10),
)
