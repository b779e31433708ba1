"""ResNet-9 on CIFAR-2: 5,000 images of cats and dogs, 500 test images.

Dropout 0.1 and 50 epochs as in the paper of the benchmark; its code has none, and 10.
"""

from functools import partial

from torch.optim import SGD

from headwater.benchmark.datasets.cifar import load_cifar2
from headwater.benchmark.datasets.samples import random_images
from headwater.benchmark.models.resnet9 import ResNet9
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.targets import cross_entropy, margin

SETTING = Setting(
    name="cifar2-resnet9",
    make_model=ResNet9,
    load_data=load_cifar2,
    loss=cross_entropy,
    targets={"loss": cross_entropy, "margin": margin},
    recipe=Recipe(0.01, batch_size=64, epochs=50, optimizer=partial(SGD, momentum=0.9)),
    draw=partial(random_images, shape=(3, 32, 32), n_classes=2),
)
