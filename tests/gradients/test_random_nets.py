"""Nets that Hypothesis puts together of all rules have the gradients of a loop."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from headwater import AttributionTask
from headwater.gradients import GradientCapture, concatenate
from tests import reference
from tests.gradients.row import value
from tests.precision import assert_close
from tests.problems import split

Maker = Callable[[int], nn.Module]
"""Makes a layer for inputs of a width: features, or channels."""


class Attend(nn.Module):
    """Self-attention beside its input."""

    def __init__(self, width: int, batch_first: bool, bias: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=batch_first, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        given = x if self.attention.batch_first else x.transpose(0, 1)
        result = self.attention(given, given, given, need_weights=False)[0]
        return x + (result if self.attention.batch_first else result.transpose(0, 1))


class Turned(nn.Module):
    """A layer on inputs with two dimensions exchanged."""

    def __init__(self, layer: nn.Module, dims: tuple[int, int]) -> None:
        super().__init__()
        self.layer, self.dims = layer, dims

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(*self.dims)).transpose(*self.dims)


class Folded(nn.Module):
    """A layer on positions as if they were samples."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Mean(nn.Module):
    """The mean over positions, or places."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1) if x.ndim == 3 else x.mean((2, 3))


def vectors(d: int) -> list[nn.Module]:
    return [nn.Linear(d, 4), nn.Linear(d, 2, bias=False), nn.LayerNorm(d), nn.RMSNorm(d)]


def sequences(d: int) -> list[nn.Module]:
    attention = [Attend(d, first, bias) for first, bias in product((True, False), repeat=2)]
    folded = [Folded(nn.BatchNorm1d(d)), Folded(nn.Linear(d, 4))]
    turned = [Turned(layer, (0, 1)) for layer in vectors(d)]
    convolutions = [
        nn.Conv1d(d, 4, 3, padding="same", padding_mode="circular"),
        nn.Conv1d(d, 2, 2, bias=False),
        nn.ConvTranspose1d(d, 4, 2, stride=2),
        nn.GroupNorm(2, d),
    ]
    channels = [Turned(layer, (1, 2)) for layer in convolutions]
    return [*vectors(d), *attention, *folded, *turned, *channels, Mean()]


def images(c: int) -> list[nn.Module]:
    convolutions: list[nn.Module] = [
        nn.Conv2d(c, 4, 2, stride, 1, dilation, groups, bias, mode)
        for stride, dilation, groups, bias, mode in (
            (1, 1, 1, True, "zeros"), (2, 1, 1, False, "zeros"), (1, 2, 1, True, "reflect"),
            (1, 1, 2, True, "circular"), (2, 2, 2, False, "replicate"),
        )
    ]  # fmt: skip
    transposed = [
        nn.ConvTranspose2d(c, 2, 3, stride, 1, extra, groups, bias, dilation)
        for stride, extra, groups, bias, dilation in (
            (1, 0, 1, True, 1), (2, 1, 1, False, 1), (2, 1, 2, True, 2),
        )
    ]  # fmt: skip
    return [*convolutions, *transposed, nn.GroupNorm(2, c), nn.BatchNorm2d(c), Mean()]


def tokens() -> list[nn.Module]:
    tables = [nn.Embedding(50, 4, padding_idx=padding) for padding in (None, 0)]
    return [*tables, *(nn.EmbeddingBag(50, 4, mode=m, padding_idx=2) for m in ("sum", "mean"))]


@st.composite
def nets(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A net of one to six layers, and five samples."""
    torch.manual_seed(draw(st.integers(0, 99)))
    x = draw(st.sampled_from([
        torch.randn(5, 2, 5, 4), torch.randperm(50)[:15].view(5, 3),
        torch.randn(5, 3, 4), torch.randn(5, 4),
    ]))  # fmt: skip
    layers: list[nn.Module] = []
    h = x
    for _ in range(draw(st.integers(1, 6))):
        if not h.is_floating_point():
            options = tokens()
        else:
            kind = {4: images, 3: sequences, 2: vectors}[h.ndim]
            options = kind(h.shape[1 if h.ndim == 4 else -1])
        layer = draw(st.sampled_from(options))
        if layers and draw(st.integers(0, 4)) == 0:
            layer = layers[-1]  # shared
        try:
            h = layer(h)
        except (RuntimeError, TypeError):
            continue  # it does not fit on what is left of the image, or on that width
        layers += [layer, nn.SiLU()]
    if isinstance(layers[0], nn.Embedding) and h.shape[-1] == 4 and draw(st.booleans()):
        head = nn.Linear(4, 50)
        head.weight = layers[0].weight
        layers.append(head)
    model = nn.Sequential(*layers).double()
    for parameter in model.parameters():
        parameter.requires_grad_(draw(st.integers(0, 5)) > 0)
    assume(any(p.requires_grad for p in model.parameters()))
    return model, x.double() if x.is_floating_point() else x


@settings(max_examples=100, deadline=None)
@given(
    made=nets(),
    sizes=st.sampled_from([[5], [1, 4], [0, 5], [2, 3], [1, 1, 3], [4, 0, 1]]),
    keep_factors=st.booleans(),
)
def test_nets_of_all_rules(
    made: tuple[nn.Module, Tensor], sizes: list[int], keep_factors: bool
) -> None:
    model, x = made
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    task = AttributionTask(model, value)
    capture = GradientCapture(task.bind(), value, keep_factors=keep_factors)
    gradients = concatenate([capture(batch) for batch in split((x,), sizes)])
    wanted = reference.per_sample_gradients(model, value, (x,))
    assert capture.without_rule == ()
    assert_close(gradients.dense(), wanted, torch.float64)
    assert_close(gradients.inner(gradients[:2]), wanted @ wanted[:2].T, torch.float64)
    assert_close(gradients.squared_norms(), wanted.square().sum(1), torch.float64)
    assert_close(gradients.inner_vectors(wanted), wanted @ wanted.T, torch.float64)
