import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from headwater.benchmark.models.dropout import StatelessDropout
from headwater.hashing import hash32


def reference_words(key, count):
    """The same hash in Python integers of any size."""
    words = []
    for i in range(count):
        x = (key + i * 0x9E3779B9) % 2**32
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        x ^= x >> 16
        words.append(x)
    return np.array(words, dtype=np.uint32).view(np.int32)


@pytest.mark.parametrize("key", [0, 1, -5, 2**31 - 1, -(2**31)])
def test_hash_equals_arithmetic_modulo_two_to_the_32(key):
    words = hash32(torch.tensor(key, dtype=torch.int32), 300)
    np.testing.assert_array_equal(words.numpy(), reference_words(key, 300))


def test_share_of_dropped_elements_and_their_scale():
    layer = StatelessDropout(0.1).train()
    kept = []
    for key in range(200):
        layer.key.fill_(key)
        out = layer(torch.ones(64, 128, dtype=torch.float64))
        assert set(out.unique().tolist()) == {0.0, 1 / 0.9}
        kept.append(out != 0)
    kept = torch.stack(kept).double()
    assert kept.mean().item() == pytest.approx(0.9, abs=2e-3)
    # Masks of neighbouring keys and of neighbouring units are independent.
    flat = kept.flatten(1) - 0.9
    assert abs((flat[1:] * flat[:-1]).mean().item()) < 1e-3
    assert abs((flat[:, 1:] * flat[:, :-1]).mean().item()) < 1e-3
    assert abs(kept.mean(0).std().item() - (0.09 / 200) ** 0.5) < 1e-3


def test_mask_depends_on_the_key_alone():
    layer = StatelessDropout(0.5).train()
    layer.key.fill_(7)
    first = layer(torch.ones(10, 10))
    torch.manual_seed(3)
    assert torch.equal(layer(torch.ones(10, 10)), first)
    layer.key.fill_(8)
    assert not torch.equal(layer(torch.ones(10, 10)), first)


def test_eval_and_zero_probability_are_the_identity():
    x = torch.randn(4, 5)
    assert StatelessDropout(0.5).eval()(x) is x
    assert StatelessDropout(0.0).train()(x) is x


def test_key_is_not_part_of_the_state():
    assert nn.Sequential(nn.Linear(2, 2), StatelessDropout(0.1)).state_dict().keys() == {
        "0.weight",
        "0.bias",
    }


@pytest.mark.parametrize("shared_input", [True, False])
def test_batched_keys_under_vmap(shared_input):
    layer = StatelessDropout(0.3).train()
    keys = torch.tensor([3, -9, 2**30], dtype=torch.int32)
    x = torch.randn(6, 4) if shared_input else torch.randn(3, 6, 4)
    call = vmap(
        lambda key, x: functional_call(layer, {"key": key}, (x,)),
        in_dims=(0, None if shared_input else 0),
    )
    stacked = call(keys, x)
    for i, key in enumerate(keys):
        layer.key.copy_(key)
        torch.testing.assert_close(stacked[i], layer(x if shared_input else x[i]))


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_impossible_probabilities_are_refused(p):
    with pytest.raises(ValueError, match="0 <= p < 1"):
        StatelessDropout(p)
