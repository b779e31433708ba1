import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.functional import softplus

from headwater.targets import (
    causal,
    cross_entropy,
    log_probability,
    logit,
    margin,
    per_token,
)

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
        (torch.zeros(3, 5, 2), torch.zeros(3, dtype=torch.int64), "labels must be int64"),
    ],
)
def test_wrong_shapes_are_refused(target, logits, labels, message):
    with pytest.raises(ValueError, match=message):
        target(nn.Identity(), (logits, labels))


# Sequences -------------------------------------------------------------------------------------


def sequences_of(n=4, positions=5, n_classes=6, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, positions, n_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, n_classes, (n, positions), generator=generator)
    ignored = torch.rand(n, positions, generator=generator) < 0.4
    ignored[:, 0] = False
    return scale * logits, labels.masked_fill(ignored, -100)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 7), st.integers(0, 50))
def test_a_sequence_is_one_event(n, positions, n_classes, seed):
    logits, labels = sequences_of(n, positions, n_classes, seed)
    p, z = torch.ones(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for i in range(n):
        for t in range(positions):
            if labels[i, t] != -100:
                p[i] *= logits[i, t].softmax(0)[labels[i, t]]
                z[i] += logits[i, t, labels[i, t]]
    batch, identity = (logits, labels), nn.Identity()
    torch.testing.assert_close(cross_entropy(identity, batch), -p.log())
    torch.testing.assert_close(log_probability(identity, batch), p.log())
    torch.testing.assert_close(logit(identity, batch), z)
    torch.testing.assert_close(margin(identity, batch), (p / (1 - p)).log())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("positions", [1, 2, 7])
def test_the_margin_of_a_sequence_belongs_to_its_cross_entropy(scale, positions):
    logits, labels = sequences_of(8, positions, scale=scale)
    labels[:4] = logits[:4].argmax(2)  # p rounds to 1
    logits.requires_grad_()
    loss, values = (f(nn.Identity(), (logits, labels)) for f in (cross_entropy, margin))
    torch.testing.assert_close(softplus(-values), loss, rtol=1e-8, atol=1e-8)
    by_loss, by_margin = (torch.autograd.grad(v.sum(), logits)[0] for v in (loss, values))
    rest = torch.sigmoid(-values).view(-1, 1, 1)
    torch.testing.assert_close(by_loss, -rest * by_margin, rtol=1e-8, atol=1e-12)


def test_the_margin_of_a_sequence_is_finite_where_the_probability_rounds():
    labels = torch.zeros(1, 2, dtype=torch.int64)
    for size in (9.9, 10.1, 1e3, -1e3):  # the branches meet near a margin of 20
        logits = torch.tensor([[[size, 0.0, 0.0]] * 2], dtype=torch.float64) * 2
        logits[:, 1] = 1e5  # a margin that is far larger leaves the other one alone
        logits[:, 1, 1:] = 0.0
        one = margin(nn.Identity(), (logits[:, 0], labels[:, 0]))
        logits.requires_grad_()
        both = margin(nn.Identity(), (logits, labels))
        torch.testing.assert_close(both, one, rtol=1e-13, atol=0.0)
        assert torch.isfinite(torch.autograd.grad(both.sum(), logits)[0]).all()


def test_positions_without_labels_count_for_nothing():
    logits, labels = sequences_of()
    labels[1] = -100
    logits[1] = 3.0
    logits.requires_grad_()
    for target in TARGETS:
        value = target(nn.Identity(), (logits, labels))
        assert value[1] == (1e30 if target is margin else 0.0)
        slope = torch.autograd.grad(value.sum(), logits)[0]
        assert torch.isfinite(slope).all()
        assert not slope[labels == -100].any()
        longer = torch.cat([logits, 9 * torch.ones_like(logits)], 1)
        padded = torch.cat([labels, torch.full_like(labels, -100)], 1)
        torch.testing.assert_close(target(nn.Identity(), (longer, padded)), value)


# PyTorch itself scripts its jvp rules on first use.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("target", [*TARGETS, *map(causal, TARGETS)])
def test_targets_of_sequences_work_under_function_transforms(target):
    logits, labels = sequences_of()
    weight = torch.randn(6, 6, dtype=torch.float64)

    def one(weight, x, y):
        return target(lambda inputs: inputs @ weight, (x[None], y[None])).squeeze(0)

    stacked = vmap(grad(one), in_dims=(None, 0, 0))(weight, logits, labels)
    leaf = weight.clone().requires_grad_()
    for i in range(4):
        (expected,) = torch.autograd.grad(one(leaf, logits[i], labels[i]), leaf)
        torch.testing.assert_close(stacked[i], expected)
    moved = torch.randn_like(weight)
    found = jvp(lambda w: grad(one)(w, logits[0], labels[0]), (weight,), (moved,))[1]
    first = torch.autograd.grad(one(leaf, logits[0], labels[0]), leaf, create_graph=True)[0]
    if first.requires_grad:
        torch.testing.assert_close(found, torch.autograd.grad((first * moved).sum(), leaf)[0])


def test_half_precision_is_summed_in_single():
    logits, labels = (t[:, :1].repeat(1, 400, *[1] * (t.ndim - 2)) for t in sequences_of())
    found = cross_entropy(nn.Identity(), (logits.bfloat16(), labels))
    wanted = cross_entropy(nn.Identity(), (logits.bfloat16().double(), labels))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=0.0)


# Tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_values_of_tokens_stand_where_their_labels_do(target, shift):
    batch = sequences_of()
    f = causal(target) if shift else target
    tokens = per_token(f)
    values, mask = tokens(nn.Identity(), batch), tokens.mask(batch)
    assert torch.equal(mask[:, shift:], (batch[1] != -100)[:, shift:])
    assert not (shift and mask[:, 0].any())
    assert not values[~mask].any()
    for i, t in mask.nonzero().tolist():
        alone = target(nn.Identity(), (batch[0][i : i + 1, t - shift], batch[1][i : i + 1, t]))
        torch.testing.assert_close(values[i, t], alone[0])
    if target is not margin:
        torch.testing.assert_close(values.sum(1), f(nn.Identity(), batch))
    else:
        together = -torch.expm1(softplus(-values).masked_fill(~mask, 0.0).sum(1)).log()
        torch.testing.assert_close(together, f(nn.Identity(), batch))


def test_the_token_of_a_plain_classifier_is_its_label():
    batch = batch_of(5, 3)
    tokens = per_token(margin)
    assert torch.equal(tokens(nn.Identity(), batch)[:, 0], margin(nn.Identity(), batch))
    assert tokens.mask(batch).tolist() == [[True]] * 5


def test_causal_targets_of_the_same_function_are_equal():
    assert causal(margin) == causal(margin) != causal(logit)
    assert per_token(causal(margin)) == per_token(causal(margin)) != per_token(margin)
    for name, make in (("causal", causal), ("per_token", per_token)):
        with pytest.raises(ValueError, match=f"{name} needs cross_entropy.*got <function"):
            make(lambda model, batch: model(batch))
