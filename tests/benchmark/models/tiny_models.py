"""The models with dropout at tiny sizes, and batches for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headwater.benchmark.models.dropout import StatelessDropout
from headwater.benchmark.models.music_transformer import MusicTransformer
from headwater.benchmark.models.nanogpt import NanoGPT
from headwater.benchmark.models.resnet9 import ResNet9

__all__ = ["SEQUENCES", "TINY", "Tiny", "randomised", "set_keys", "tokens"]


@dataclass(frozen=True)
class Tiny:
    """A model, its samples, and how many dropout layers it has."""

    make: Callable[[], nn.Module]
    draw: Callable[[int], tuple[Tensor, Tensor]]
    n_dropouts: int


def images(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, 12, 12, dtype=torch.float64), torch.randint(3, (n,))


def tokens(n: int, length: int = 7) -> tuple[Tensor, Tensor]:
    """Labels of which one a sample is missing, as after the end of a text."""
    labels = torch.randint(11, (n, length))
    labels[:, -1] = -100
    return torch.randint(11, (n, length)), labels


SEQUENCES = {
    "NanoGPT": Tiny(
        lambda: NanoGPT(11, length=8, n_layers=2, n_heads=2, width=12, dropout=0.2), tokens, 7
    ),
    "MusicTransformer": Tiny(
        lambda: MusicTransformer(
            11, length=8, n_layers=2, n_heads=2, width=12, hidden=20, dropout=0.1
        ),
        tokens,
        9,
    ),
}
TINY = {"ResNet9": Tiny(lambda: ResNet9(width=4, n_classes=3), images, 9), **SEQUENCES}


def randomised(model: nn.Module) -> nn.Module:
    """Move every parameter and statistic away from 0 and 1, in float64."""
    model = model.double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model


def set_keys(model: nn.Module, start: int) -> None:
    """Give the dropout layers the keys start, start + 1, …"""
    found = [module for module in model.modules() if isinstance(module, StatelessDropout)]
    for i, module in enumerate(found):
        module.key.fill_(start + i)
