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


class KeywordCalls(nn.Module):
    """Layers that are called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.body, self.head = nn.Embedding(5, 4), nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(input=self.tokens(input=x))))


class Folded(nn.Module):
    """Frames of a film, folded into the first dimension: (n · T, ...)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.norm(self.conv(x.flatten(0, 1))))
        return self.head(h.mean((2, 3))).unflatten(0, x.shape[:2])


class Positions(nn.Module):
    """An embedding of positions, and a layer on it, called once for all samples."""

    def __init__(self, flat: bool = False) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(5, 4), nn.Embedding(20, 4)
        self.mix, self.head, self.flat = nn.Linear(4, 4), nn.Linear(4, 2), flat

    def forward(self, x: Tensor) -> Tensor:
        index = torch.arange(x.shape[1], device=x.device)
        places = self.mix(self.positions(index if self.flat else index[None]))
        return self.head(torch.tanh(self.tokens(x) + places))


class Recurrent(nn.Module):
    """A GRU or an LSTM before a Linear layer."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell, self.head = kind(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class Branching(nn.Module):
    """What is computed depends on the values of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        if (x[:, 0] > 0).any():
            h = torch.where(x[:, :1] > 0, h.tanh(), h)
        return self.head(h)


class Experts(nn.Module):
    """Two experts that each work on the positions that their inputs are routed to."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, second = x.new_zeros(*x.shape[:-1], 3), x[..., 0] > 0
        for chosen, expert in zip((second, ~second), self.experts, strict=True):
            if chosen.any():
                h[chosen] = expert(x[chosen])
        return self.head(torch.tanh(h))


class HandMadeLoRA(nn.Module):
    """A frozen layer, and a product of two small ones beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(5, 4).requires_grad_(False)
        self.down, self.up = nn.Linear(5, 2, bias=False), nn.Linear(2, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 0.5 * self.up(self.down(x))


class PaddedLanguageModel(nn.Module):
    """A transformer on sentences of different lengths; token 0 pads."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(6, 4, padding_idx=0)
        layer = nn.TransformerEncoderLayer(4, 2, 4, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.out = nn.Linear(4, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.encoder(self.tokens(tokens), src_key_padding_mask=tokens == 0)
        return self.out(hidden)


class CausalLanguageModel(PaddedLanguageModel):
    """The same, where a token sees those before it only."""

    def forward(self, tokens: Tensor) -> Tensor:
        later = torch.ones(2 * tokens.shape[1:], dtype=torch.bool, device=tokens.device).triu(1)
        hidden = self.encoder(self.tokens(tokens), mask=later, src_key_padding_mask=tokens == 0)
        return self.out(hidden)


class NextToken(nn.Module):
    """Attention between an Embedding and an output layer that share their weight; one class."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(5, 4), nn.Embedding(3, 4)
        self.block = nn.TransformerEncoderLayer(4, 2, 4, batch_first=True, norm_first=True)
        self.norm, self.out = nn.LayerNorm(4), nn.Linear(4, 5)
        self.out.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        return self.out(self.norm(self.block(self.tokens(tokens) + places)[:, -1]))


class ConvNet(nn.Module):
    """Convolutions, plain and depthwise, with a norm each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.GELU(),
            nn.Conv2d(4, 4, 2, stride=2, groups=4), nn.BatchNorm2d(4), nn.GELU(),
        )  # fmt: skip
        self.head = nn.Linear(4, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image).mean((2, 3)))


class TransformerBlock(nn.Module):
    """Attention on inputs with a bare parameter for each position."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(3, 4))
        self.block = nn.TransformerEncoderLayer(4, 2, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x + self.positions).mean(1))
