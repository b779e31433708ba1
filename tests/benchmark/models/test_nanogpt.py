import copy
import math

import pytest
import torch
import torch.nn.functional as F

from headwater.benchmark.models.nanogpt import NanoGPT
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training.draws import initial_model
from headwater.targets import cross_entropy
from tests.benchmark.models.tiny_models import SEQUENCES, randomised, tokens
from tests.precision import assert_close


def test_parameters_at_the_size_of_the_paper():
    with torch.device("meta"):
        model = NanoGPT()
    assert sum(p.numel() for p in model.parameters()) == 10_745_088
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]


def test_the_matrix_that_embeds_tokens_scores_them():
    model = SEQUENCES["NanoGPT"].make()
    setting = Setting("x", SEQUENCES["NanoGPT"].make, None, cross_entropy, {}, Recipe(0.1, 1, 1))
    moved = initial_model(setting, 0, torch.zeros(1, dtype=torch.float64))
    for tied in (model, copy.deepcopy(model), moved):
        assert tied.head.weight is tied.tokens.weight
    assert moved.head.weight.dtype == torch.float64


def test_initial_weights():
    torch.manual_seed(0)
    n_layers = 8
    model = NanoGPT(n_tokens=65, length=64, n_layers=n_layers, n_heads=2, width=64)
    for name, p in model.named_parameters():
        if p.ndim == 1:
            assert p.eq(1).all(), name
            continue
        expected = 0.02 / math.sqrt(2 * n_layers) if name.endswith("output.weight") else 0.02
        assert p.std().item() == pytest.approx(expected, rel=0.05), name
        assert abs(p.mean().item()) < 0.05 * expected, name
    inputs, labels = torch.randint(65, (8, 64)), torch.randint(65, (8, 64))
    loss = cross_entropy(model.eval(), (inputs, labels)).mean() / 64
    assert loss.item() == pytest.approx(math.log(65), rel=0.01)


@torch.no_grad()
def test_logits_are_those_of_a_gpt_with_the_attention_of_pytorch():
    model = randomised(SEQUENCES["NanoGPT"].make()).eval()
    inputs, _ = tokens(3)
    h = model.tokens.weight[inputs] + model.positions.weight[: inputs.shape[1]]
    for layer in model.layers:
        x = F.layer_norm(h, (12,), layer.attention_norm.weight)
        q, k, v = (x @ layer.attention.project.weight.T).split(12, dim=2)
        q, k, v = (part.reshape(3, -1, 2, 6).transpose(1, 2) for part in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + mixed.transpose(1, 2).reshape(3, -1, 12) @ layer.attention.output.weight.T
        x = F.layer_norm(h, (12,), layer.mlp_norm.weight) @ layer.mlp.input.weight.T
        h = h + F.gelu(x) @ layer.mlp.output.weight.T
    logits = F.layer_norm(h, (12,), model.norm.weight) @ model.tokens.weight.T
    assert_close(model(inputs), logits, torch.float64)
