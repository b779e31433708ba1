"""Small models that make the capture of gradients difficult, each in a way of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TinyMLP(nn.Module):
    """Three Linear layers, one ReLU that works in place, dropout that must be off."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 7), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.neck = nn.Linear(7, 4, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.neck(self.body(x))))


class TinySequence(nn.Module):
    """Linear layers on (n, T, d), one class a position."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.gelu(self.first(x)))


class SharedLinear(nn.Module):
    """One module that is called twice, on T positions and on one."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.shared(x)).mean(1)
        return self.head(torch.tanh(self.shared(h)))


class TiedWeights(nn.Module):
    """An Embedding whose weight is also that of the output layer; either may come first."""

    def __init__(self, linear_first: bool = False) -> None:
        super().__init__()
        if linear_first:
            self.out = nn.Linear(4, 6)
        self.tokens = nn.Embedding(6, 4)
        self.mix = nn.Linear(4, 4)
        if not linear_first:
            self.out = nn.Linear(4, 6)
        self.out.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(torch.tanh(self.mix(self.tokens(tokens))))


class MixedNet(nn.Module):
    """Convolution, norms, an embedding and a scalar (dense) around Linear layers (factors)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
        self.act = nn.ReLU(inplace=True)
        self.layer_norm, self.kinds = nn.LayerNorm(8), nn.Embedding(3, 8)
        self.mid, self.head = nn.Linear(8, 4), nn.Linear(4, 3)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor, kind: Tensor) -> Tensor:
        h = self.act(self.norm(self.conv(image))).flatten(1)
        h = self.act(self.mid(self.layer_norm(h) + self.kinds(kind)))
        return self.head(h) * self.temperature


class PositionsFirst(nn.Module):
    """A Linear layer that sees (T, n, d): its factors are no per-sample gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inside(x.transpose(0, 1))).mean(0))


class WeightOutside(nn.Module):
    """A Linear layer whose weight also enters the result without the layer being called."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.head = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.used(x))) * (1.0 + self.used.weight.square().mean())
