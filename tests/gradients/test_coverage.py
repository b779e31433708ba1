"""Whole models are served by rules, and a pass costs as few exchanges with the device as a small one."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater import AttributionTask
from headwater.gradients import GradientCapture
from tests import reference
from tests.gradients.hugging_face import gpt2
from tests.precision import assert_close
from tests.problems import cross_entropy

SHARE = 0.05
"""Of the parameters, at most, that may be differentiated sample by sample."""


def block(d_in: int, d_out: int, pool: bool = False) -> nn.Sequential:
    layers = [nn.Conv2d(d_in, d_out, 3, padding=1, bias=False), nn.BatchNorm2d(d_out)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True), *[nn.MaxPool2d(2)] * pool)


class ResNet9(nn.Module):
    """The net of the CIFAR-10 benchmarks, eight times narrower."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first, self.second = block(3, width), block(width, 2 * width, pool=True)
        self.residual = nn.Sequential(block(2 * width, 2 * width), block(2 * width, 2 * width))
        self.third = block(2 * width, 4 * width, pool=True)
        self.again = nn.Sequential(block(4 * width, 4 * width), block(4 * width, 4 * width))
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x))
        x = self.third(x + self.residual(x))
        return self.head((x + self.again(x)).amax((2, 3)))


class RelativeAttention(nn.Module):
    """Attention with a vector for each distance, as in the Music Transformer."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, size = heads, width // heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.distances = nn.Parameter(torch.randn(length, size) / size)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        layers = (self.query, self.key, self.value)
        q, k, v = (layer(x).view(n, t, self.heads, -1).transpose(1, 2) for layer in layers)
        relative = F.pad(q @ self.distances[-t:].T, (1, 0))
        skewed = relative.reshape(n, self.heads, t + 1, t)[:, :, 1:]
        scores = (q @ k.mT + skewed) / math.sqrt(q.shape[-1])
        future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class MusicTransformer(nn.Module):
    """Two layers of relative attention over events."""

    def __init__(self, events: int = 40, width: int = 32, length: int = 16) -> None:
        super().__init__()
        self.events = nn.Embedding(events, width)
        self.attention = nn.ModuleList([RelativeAttention(width, 4, length) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(4)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, width)) for _ in range(2)]
        )
        self.head = nn.Linear(width, events)

    def forward(self, x: Tensor) -> Tensor:
        h = self.events(x)
        for k in range(2):
            h = h + self.attention[k](self.norms[2 * k](h))
            h = h + self.mlps[k](self.norms[2 * k + 1](h))
        return self.head(h)


def images(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, 16, 16, dtype=torch.float64), torch.randint(10, (n,))


def events(n: int) -> tuple[Tensor, Tensor]:
    return torch.randint(40, (n, 12)), torch.randint(40, (n, 12))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Tensor, Tensor]], int]] = {
    "ResNet-9": (ResNet9, images, 0),
    "Music Transformer": (MusicTransformer, events, 2 * 16 * 8),
    "GPT-2": (lambda: gpt2(vocabulary=40, positions=16, width=32, layers=2), events, 0),
}
"""A model, its samples, and how many parameters no rule may serve at most."""


@pytest.mark.parametrize("name", MODELS)
def test_nearly_all_parameters_of_a_model_have_a_rule(name: str) -> None:
    make, draw, most = MODELS[name]
    model, batch = make().double(), draw(3)
    task = AttributionTask(model, cross_entropy)
    capture = GradientCapture(task.bind(), task.loss)
    gradients = capture(batch)
    sizes = {parameter: p.numel() for parameter, p in model.named_parameters()}
    alone = sum(sizes[parameter] for parameter in capture.without_rule)
    assert alone <= most <= SHARE * sum(sizes.values()), capture.without_rule
    wanted = reference.per_sample_gradients(model, cross_entropy, batch)
    assert_close(gradients.dense(), wanted, torch.float64)


def test_before_the_first_batch_no_parameter_is_known_to_have_a_rule() -> None:
    task = AttributionTask(nn.Linear(2, 2), cross_entropy)
    capture = GradientCapture(task.bind(), task.loss)
    assert capture.without_rule == ("weight", "bias")
    capture((torch.ones(2, 2), torch.tensor([0, 1])))
    assert capture.without_rule == ()


EXCHANGES = ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "cpu", "numpy")


@pytest.mark.parametrize("keep_factors", [False, True])
def test_exchanges_with_the_device_do_not_grow_with_the_depth(
    keep_factors: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {}
    for depth in (1, 12):
        layers = [part for _ in range(depth) for part in (nn.Linear(6, 6), nn.LayerNorm(6))]
        model = nn.Sequential(nn.Embedding(9, 6), *layers, nn.Linear(6, 9))
        batch = torch.randint(9, (4, 3)), torch.randint(9, (4, 3))
        task = AttributionTask(model, cross_entropy)
        capture = GradientCapture(task.bind(), task.loss, keep_factors=keep_factors)
        capture(batch)  # the first batch finds out which rules hold
        made = []
        with monkeypatch.context() as patch:
            for name in EXCHANGES:
                original = getattr(Tensor, name)

                def spy(self, *args, original=original, name=name, made=made):
                    made.append(name)
                    return original(self, *args)

                patch.setattr(Tensor, name, spy)
            capture(batch)
        counts[depth] = made
    assert counts[1] == counts[12]
    assert len(counts[1]) == 1, f"the check that all is finite is one: {counts[1]}"
