import math

import pytest
import torch

from headwater.benchmark.models.music_transformer import MusicTransformer, RelativeAttention
from tests.benchmark.models.tiny_models import randomised
from tests.precision import assert_close


def test_parameters_at_the_size_of_the_paper():
    with torch.device("meta"):
        model = MusicTransformer()
    assert sum(p.numel() for p in model.parameters()) == 13_115_782
    relative = [p for name, p in model.named_parameters() if "distances" in name]
    assert sum(p.numel() for p in relative) == 98_304


def loop_of_attention(attention, x):
    """The definition: one score at a time, with the vector of its distance."""
    n, n_positions, width = x.shape
    size = width // attention.n_heads
    q, k, v = attention.project(x).split(width, dim=2)
    vectors = attention.distances.weight.flip(0)  # by distance
    mixed = torch.zeros_like(x)
    for i in range(n):
        for head in range(attention.n_heads):
            part = slice(head * size, (head + 1) * size)
            for t in range(n_positions):
                scores = torch.stack(
                    [q[i, t, part] @ (k[i, s, part] + vectors[t - s]) for s in range(t + 1)]
                )
                weights = (scores / math.sqrt(size)).softmax(0)
                mixed[i, t, part] = weights @ v[i, : t + 1, part]
    return attention.output(mixed)


@pytest.mark.parametrize("n_positions", [1, 2, 5, 6])
@pytest.mark.parametrize("n_heads", [1, 3])
@torch.no_grad()
def test_relative_attention_equals_a_loop_over_positions(n_heads, n_positions):
    torch.manual_seed(0)
    attention = randomised(RelativeAttention(6, n_heads, 12, dropout=0.1)).eval()
    x = torch.randn(2, n_positions, 12, dtype=torch.float64)
    assert_close(attention(x), loop_of_attention(attention, x), torch.float64)


@torch.no_grad()
def test_logits_of_one_layer_are_their_formula():
    torch.manual_seed(0)
    model = randomised(MusicTransformer(11, 8, 1, 2, 12, 20)).eval()
    inputs, (layer,) = torch.randint(11, (2, 5)), model.layers
    angles = [[t / 10_000 ** (2 * i / 12) for i in range(6)] for t in range(5)]
    waves = [[f(a) for a in row for f in (math.sin, math.cos)] for row in angles]
    h = math.sqrt(12) * model.tokens.weight[inputs] + torch.tensor(waves, dtype=torch.float64)
    h = layer.attention_norm(h + loop_of_attention(layer.attention[0], h))
    h = layer.mlp_norm(h + layer.mlp[3](layer.mlp[0](h).relu()))
    torch.testing.assert_close(model(inputs), model.head(model.norm(h)), rtol=0, atol=1e-5)


def test_odd_widths_are_refused():
    with pytest.raises(ValueError, match="even for sin and cos, got 9"):
        MusicTransformer(width=9, n_heads=3)
