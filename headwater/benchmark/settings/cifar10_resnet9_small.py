"""ResNet-9 with 6 channels in place of 64 on CIFAR-10: 1,500 images of 16 x 16 pixels, for two cores."""

from headwater.benchmark.datasets.cifar import load_cifar10
from headwater.benchmark.settings.cifar2_resnet9_small import small
from headwater.benchmark.settings.cifar10_resnet9 import SETTING as WHOLE

SETTING = small(WHOLE, load_cifar10, 10)
