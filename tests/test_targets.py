import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, jvp, vmap

from headwater.targets import cross_entropy, log_probability, logit, margin

TARGETS = [cross_entropy, log_probability, logit, margin]


def batch_of(n, n_classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, n_classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, n_classes, (n,), generator=generator)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 50))
def test_targets_equal_their_formulas_in_probabilities(n, n_classes, seed):
    logits, labels = batch_of(n, n_classes, seed)
    p = logits.softmax(1)[torch.arange(n), labels]
    batch = (logits, labels)
    identity = nn.Identity()
    torch.testing.assert_close(cross_entropy(identity, batch), -p.log())
    torch.testing.assert_close(log_probability(identity, batch), p.log())
    torch.testing.assert_close(logit(identity, batch), logits[torch.arange(n), labels])
    torch.testing.assert_close(margin(identity, batch), (p / (1 - p)).log())


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_margin_is_finite_where_the_probability_rounds(size):
    logits = torch.tensor([[size, 0.0, 0.0]], dtype=torch.float32, requires_grad=True)
    value = margin(nn.Identity(), (logits, torch.tensor([0])))
    assert value.item() == pytest.approx(size - math.log(2))
    value.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -0.5, -0.5]]))


def test_margin_of_two_classes_is_the_difference_of_logits():
    logits, labels = batch_of(5, 2)
    rows = torch.arange(5)
    expected = logits[rows, labels] - logits[rows, 1 - labels]
    torch.testing.assert_close(margin(nn.Identity(), (logits, labels)), expected)


# PyTorch itself scripts its jvp rules on first use.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("target", TARGETS)
def test_targets_work_under_function_transforms(target):
    model = nn.Linear(3, 4).double()
    x, labels = batch_of(5, 3)
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def one(parameters, x, y):
        call = lambda inputs: functional_call(model, parameters, (inputs,))  # noqa: E731
        return target(call, (x[None], y[None])).squeeze(0)

    stacked = vmap(grad(one), in_dims=(None, 0, 0))(parameters, x, labels)
    for i in range(5):
        value = target(model, (x[i : i + 1], labels[i : i + 1])).sum()
        expected = torch.autograd.grad(value, list(model.parameters()))
        for got, want in zip(stacked.values(), expected, strict=True):
            torch.testing.assert_close(got[i], want)
    tangent = {name: torch.ones_like(p) for name, p in parameters.items()}
    slope = jvp(lambda p: one(p, x[0], labels[0]), (parameters,), (tangent,))[1]
    torch.testing.assert_close(slope, sum(g[0].sum() for g in stacked.values()))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), "logits must have shape"),
        (torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64), "logits must have shape"),
        (torch.zeros(3, 2), torch.zeros(3), "labels must be int64"),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), "labels must be int64"),
    ],
)
def test_wrong_shapes_are_refused(target, logits, labels, message):
    with pytest.raises(ValueError, match=message):
        target(nn.Identity(), (logits, labels))
