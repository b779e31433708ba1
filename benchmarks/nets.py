"""The nets of the problems, in plain PyTorch: all sides import them, none needs headwater for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["NETS", "ConvNet", "Gpt", "Mlp", "ResNet9", "attributed_layers"]


def attributed_layers(model: nn.Module) -> list[str]:
    """Return the names of the Linear and Conv2d modules: what every library can attribute to."""
    kinds = (nn.Linear, nn.Conv2d)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


class Mlp(nn.Module):
    """The model of mnist-mlp with its parameter names; 109,386 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, 10) of rows (n, 784)."""
        return self.layers(inputs)


class ConvNet(nn.Module):
    """Four convolutions with group norms, and the mean over positions; 98,922 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *self._block(1, 16, 1),
            *self._block(16, 32, 2),
            *self._block(32, 64, 2),
            *self._block(64, 128, 1),
        )
        self.head = nn.Linear(128, 10)

    @staticmethod
    def _block(d_in: int, d_out: int, stride: int) -> tuple[nn.Module, ...]:
        layer = nn.Conv2d(d_in, d_out, 3, stride, padding=1)
        return layer, nn.GroupNorm(8, d_out), nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, 10) of images (n, 1, 28, 28)."""
        return self.head(self.layers(inputs).mean((2, 3)))


class Gpt(nn.Module):
    """A causal transformer of characters: two blocks, four heads, width 88; 205,457 parameters."""

    LENGTH, CHARACTERS, WIDTH = 64, 65, 88

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(self.CHARACTERS, self.WIDTH)
        self.positions = nn.Embedding(self.LENGTH, self.WIDTH)
        self.blocks = nn.Sequential(_Block(self.WIDTH, 4), _Block(self.WIDTH, 4))
        self.norm = nn.LayerNorm(self.WIDTH)
        self.head = nn.Linear(self.WIDTH, self.CHARACTERS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (n, T, 65) of the next characters, of int64 characters (n, T)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions(places))))


class _Block(nn.Module):
    """Causal attention and a perceptron, each after a norm and beside the identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.inner_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.projection = nn.Linear(width, width), nn.Linear(width, width)
        self.inner = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return what becomes of (n, T, width)."""
        x = x + self._attention(self.norm(x))
        return x + self.inner(self.inner_norm(x))

    def _attention(self, x: Tensor) -> Tensor:
        # Written out: a fused kernel has no rule under vmap, and a peer would pay for it.
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(x), self.value(x))
        )
        weights = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        later = torch.ones(weights.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
        found = weights.masked_fill(later, -torch.inf).softmax(-1) @ v
        return self.projection(found.transpose(1, 2).flatten(2))


class ResNet9(nn.Module):
    """Eight convolutions with batch norms, four of them beside the identity; 1,646,122 parameters."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        self.first = nn.Sequential(self._block(3, w), self._block(w, 2 * w, pool=True))
        self.inner = nn.Sequential(self._block(2 * w, 2 * w), self._block(2 * w, 2 * w))
        self.second = nn.Sequential(self._block(2 * w, 4 * w, pool=True), self._block(4 * w, 8 * w))
        self.outer = nn.Sequential(self._block(8 * w, 8 * w), self._block(8 * w, 8 * w))
        self.head = nn.Linear(8 * w, 10)

    @staticmethod
    def _block(d_in: int, d_out: int, pool: bool = False) -> nn.Sequential:
        layers = [
            nn.Conv2d(d_in, d_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(d_out),
            nn.ReLU(inplace=True),
        ]
        return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, 10) of images (n, 3, 32, 32)."""
        x = self.first(inputs)
        x = self.second(x + self.inner(x))
        return self.head((x + self.outer(x)).amax((2, 3)))


NETS: dict[str, type[nn.Module]] = {"mnist-mlp": Mlp, "conv": ConvNet, "gpt": Gpt}
"""The net of each problem in `benchmarks/methods.py`."""
