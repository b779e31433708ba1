"""ResNet-9 with 6 channels in place of 64 on CIFAR-2: 1,500 images of 16 x 16 pixels, for two cores."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch.nn.functional as F
from torch.optim import SGD

from headwater.benchmark.datasets.cifar import load_cifar2
from headwater.benchmark.datasets.samples import Samples, random_images
from headwater.benchmark.models.resnet9 import ResNet9
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.cifar2_resnet9 import SETTING as WHOLE
from headwater.benchmark.settings.setting import Setting


def small(whole: Setting, load: Callable[..., Samples], n_classes: int) -> Setting:
    """Return a setting of ResNet-9 with fewer channels, pixels and epochs, and no dropout."""

    def halved(data: Path) -> Samples:
        samples = load(data, n_train=2000, n_test=500)
        train, test = (F.avg_pool2d(images, 2) for images in (samples[0], samples[2]))
        return samples._replace(train_inputs=train, test_inputs=test)

    return dataclasses.replace(
        whole,
        name=f"{whole.name}-small",
        make_model=partial(ResNet9, width=6, n_classes=n_classes, dropout=0.0),
        load_data=halved,
        recipe=Recipe(0.02, batch_size=32, epochs=12, optimizer=partial(SGD, momentum=0.9)),
        draw=partial(random_images, shape=(3, 16, 16), n_classes=n_classes),
    )


SETTING = small(WHOLE, load_cifar2, 2)
