"""Explicit attention computes what PyTorch's does, and hooks see each of its projections."""

from __future__ import annotations

import copy
import pickle
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from headwater.attention import ExplicitAttention, Projection, explicit
from headwater.kernels import no_fast_path

N, L, S, D, HEADS = 3, 4, 5, 6, 2
INPUTS = ("self", "cross", "three", "value")
SEPARATE = (
    ("three", {"kdim": 4, "vdim": 7}),
    ("three", {"vdim": 7}),
    ("cross", {"kdim": 4, "vdim": 4}),
    ("value", {"vdim": 7}),
)
MASKS = {
    "none": (None, None),
    "padding": ("bool", None),
    "padding float": ("float", None),
    "2-D": (None, "bool 2"),
    "2-D float": (None, "float 2"),
    "3-D": (None, "bool 3"),
    "3-D float": (None, "float 3"),
    "2-D and padding": ("bool", "bool 2"),
    "3-D and padding": ("float", "float 3"),
    "causal": (None, "causal"),
    "causal and padding": ("bool", "causal"),
}
WEIGHTS = (
    {"need_weights": False},
    {"need_weights": True},
    {"need_weights": True, "average_attn_weights": False},
)


def pair(**arguments) -> tuple[nn.MultiheadAttention, ExplicitAttention]:
    """PyTorch's module with all parameters random, and an explicit copy."""
    module = nn.MultiheadAttention(D, HEADS, dtype=torch.float64, **arguments)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    new = explicit(copy.deepcopy(module))
    assert type(new) is ExplicitAttention
    return module, new


def inputs(kind: str, batch=(N,), batch_first: bool = True, kdim=D, vdim=D):
    """Query, key and value; the key is one tensor with the others as the kind says."""

    def draw(length: int, width: int) -> Tensor:
        shape = (*batch, length) if batch_first else (length, *batch)
        return torch.randn(*shape, width, dtype=torch.float64, requires_grad=True)

    key = draw(S, kdim)
    query = key if kind in ("self", "value") else draw(L, D)
    value = key if kind in ("self", "cross") else draw(S, vdim)
    return query, key, value


def masks(name: str, length: int, batch: tuple[int, ...] = (N,)) -> dict:
    """Keyword arguments; the first key is always attended to."""
    padding, attn = MASKS[name]
    found = {"is_causal": attn == "causal"}
    if padding:
        drop = torch.rand(*batch, S) < 0.4
        drop[..., 0] = False
        found["key_padding_mask"] = drop if padding == "bool" else torch.randn(*batch, S).double()
    if attn == "causal":
        found["attn_mask"] = torch.ones(length, S, dtype=torch.bool).triu(diagonal=1)
    elif attn:
        lead = (HEADS * (batch or (1,))[0],) if attn.endswith("3") else ()
        drop = torch.rand(*lead, length, S) < 0.4
        drop[..., 0] = False
        found["attn_mask"] = drop if attn.startswith("bool") else torch.randn_like(drop.double())
    return found


def same(module: nn.Module, new: nn.Module, *given: Tensor, **options) -> None:
    """Compare outputs, weights, and the gradients of parameters and inputs."""
    found = []
    for attention in (module, new):
        torch.manual_seed(7)
        with no_fast_path():
            result, weights = attention(*given, **options)
        wanted = [p for p in attention.parameters()] + list({id(x): x for x in given}.values())
        outputs = result.square().sum() + (0 if weights is None else (weights**3).sum())
        found.append((result, weights, torch.autograd.grad(outputs, wanted)))
    (result, weights, gradients), (other, others, others_gradients) = found
    torch.testing.assert_close(other, result, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(others, weights, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(others_gradients, gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("batch", "batch_first"), [((N,), True), ((N,), False), ((), False)])
@pytest.mark.parametrize(("kind", "widths"), [*((kind, {}) for kind in INPUTS), *SEPARATE])
def test_results_and_gradients_are_those_of_pytorch(kind, widths, batch, batch_first, bias, mask):
    module, new = pair(bias=bias, batch_first=batch_first, **widths)
    given = inputs(kind, batch, batch_first, **widths)
    options = masks(mask, given[0].shape[1 if batch_first else 0], batch)
    for weights in WEIGHTS:
        same(module, new, *given, **options, **weights)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_dropout_draws_the_same_numbers_in_training_and_none_in_evaluation(batch_first, weights):
    module, new = pair(dropout=0.5, batch_first=batch_first)
    given = inputs("cross", batch_first=batch_first)
    same(module, new, *given, **weights)
    trained = new(*given, **weights)[0]
    same(module.eval(), new.eval(), *given, **weights)
    assert not torch.allclose(new(*given, **weights)[0], trained)


def test_the_result_can_be_viewed():
    assert pair()[1](*inputs("self", batch_first=False))[0].view(-1, D).shape == (N * S, D)


@pytest.mark.parametrize("arguments", [{}, {"bias": False}, {"kdim": 4, "vdim": 7}])
def test_the_state_dict_is_unchanged(arguments):
    module, new = pair(**arguments)
    assert list(new.state_dict()) == list(module.state_dict())
    assert [n for n, _ in new.named_parameters()] == [n for n, _ in module.named_parameters()]
    fresh = ExplicitAttention(D, HEADS, dtype=torch.float64, **arguments)
    fresh.load_state_dict(module.state_dict())
    module.load_state_dict(fresh.state_dict())
    given = inputs("three", batch_first=False, **{k: v for k, v in arguments.items() if v})
    same(module, fresh, *given)
    same(module, pickle.loads(pickle.dumps(copy.deepcopy(new))), *given)


def record(module: nn.Module) -> list:
    """Put hooks on the children; each call appends (name, child, input, e), e set by backward."""
    calls = []

    def hook(name):
        def called(child, args, output):
            assert all(a is None or isinstance(a, Tensor) for a in args)
            calls.append([name, child, args[0].detach(), None])
            i = len(calls) - 1
            output.register_hook(lambda e: calls[i].__setitem__(3, e))

        return called

    for name, child in module.named_modules():
        if isinstance(child, Projection | nn.Linear):
            child.register_forward_hook(hook(name))
    return calls


CALLS = {
    "self": {"project_qkv": (0, 18)},
    "cross": {"project_q": (0, 6), "project_kv": (6, 18)},
    "three": {"project_q": (0, 6), "project_k": (6, 12), "project_v": (12, 18)},
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("kind", "widths"), [*((kind, {}) for kind in INPUTS), *SEPARATE])
def test_hooks_see_enough_for_the_gradients_of_each_sample(kind, widths, batch_first, bias):
    new = pair(bias=bias, batch_first=batch_first, **widths)[1]
    given = inputs(kind, batch_first=batch_first, **widths)
    calls = record(new)
    result = new(*given)[0]
    per_sample = result.square().flatten(1).sum(1) if batch_first else result.square().sum((0, 2))
    per_sample.sum().backward(retain_graph=True)
    expected = CALLS["three" if widths or kind == "value" else kind]
    assert {name: child.bias_rows for name, child, *_ in calls[:-1]} == expected
    assert [name for name, *_ in calls] == [*expected, "out_proj"]
    found = {name: torch.zeros(N, *p.shape).double() for name, p in new.named_parameters()}
    out = Projection("out_proj.weight", (0, D), "out_proj.bias" if bias else None, (0, D))
    for (_, _, x, e), child in zip(calls, [*(c[1] for c in calls[:-1]), out], strict=True):
        assert x.shape[0] == e.shape[0] == N and x.shape[1] == e.shape[1]
        found[child.parameter][:, slice(*child.rows)] += e.mT @ x
        if child.bias:
            found[child.bias][:, slice(*child.bias_rows)] += e.sum(1)
    for i in range(N):
        exact = torch.autograd.grad(per_sample[i], list(new.parameters()), retain_graph=True)
        for name, gradient in zip(found, exact, strict=True):
            torch.testing.assert_close(found[name][i], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mask", ["none", "padding", "3-D float", "causal"])
def test_it_works_under_vmap_of_grad(mask, weights):
    module, new = pair(batch_first=True)
    x = inputs("self")[0].detach()
    options = masks(mask, S, batch=(1,))

    found = []
    for model in (module, new):

        def value(parameters, sample, model=model):
            given = (sample[None],) * 3
            return functional_call(model, parameters, given, options | weights)[0].square().sum()

        parameters = {k: p.detach() for k, p in model.named_parameters()}
        with no_fast_path(), sdpa_kernel(SDPBackend.MATH):
            found.append(vmap(grad(value), (None, 0))(parameters, x))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mask", ["none", "padding", "3-D", "causal"])
def test_it_works_under_autocast(mask, weights):
    module, new = (m.float() for m in pair(batch_first=True))
    given = [x.detach().float() for x in inputs("cross")]
    options = masks(mask, L) | weights
    with torch.autocast("cpu", dtype=torch.bfloat16), no_fast_path():
        expected, found = (m(*given, **options) for m in (module, new))
    torch.testing.assert_close(found, expected, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.filterwarnings("ignore:.*nested:UserWarning")
def test_encoders_and_decoders(batch_first, shared):
    model = nn.Transformer(D, HEADS, 2, 2, 8, 0.0, batch_first=batch_first, dtype=torch.float64)
    if shared:
        model.encoder.layers[1].self_attn = model.encoder.layers[0].self_attn
    new = copy.deepcopy(model)
    assert explicit(new) is new and list(new.state_dict()) == list(model.state_dict())
    found = [type(m) for m in new.modules() if isinstance(m, nn.MultiheadAttention)]
    assert found == [ExplicitAttention] * (5 if shared else 6)
    target, source, _ = inputs("cross", batch_first=batch_first)
    causal = masks("causal", L)["attn_mask"][:, :L]
    padding = (torch.arange(S) >= S - 2).repeat(N, 1)
    names = ("src_key_padding_mask", "memory_key_padding_mask")
    options = {"tgt_mask": causal, "tgt_is_causal": True, **dict.fromkeys(names, padding)}
    for training, context in ((True, nullcontext), (False, torch.no_grad), (False, no_fast_path)):
        results = []
        for m in (model.train(training), new.train(training)):
            with context():
                results.append(m(source, target, **options))
        torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)
    shapes = []
    for module in new.encoder.modules():
        if isinstance(module, Projection):
            module.register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape)))
    with torch.no_grad(), no_fast_path():
        new(source, target, **options)
    assert shapes == [(N, S, 3 * D)] * 2


@pytest.mark.parametrize("before", [True, False])
def test_no_fast_path_restores_what_was(before, monkeypatch):
    monkeypatch.setattr(mha, "_is_fastpath_enabled", before)
    with pytest.raises(KeyError), no_fast_path():
        assert not mha.get_fastpath_enabled()
        raise KeyError
    assert mha.get_fastpath_enabled() is before


def test_parameters_hooks_and_mode_are_shared():
    module, calls = pair()[0].eval(), []
    handle = module.register_forward_hook(lambda *_: calls.append(1))
    new = explicit(module)
    assert new.in_proj_weight is module.in_proj_weight and new.out_proj is module.out_proj
    assert not any(m.training for m in new.modules()) and type(module) is nn.MultiheadAttention
    new(*inputs("self"))
    handle.remove()
    new(*inputs("self"))
    assert calls == [1]


@pytest.mark.parametrize("name", ["add_bias_kv", "add_zero_attn"])
def test_what_is_not_supported_is_left_as_it_is(name):
    module = nn.Sequential(nn.MultiheadAttention(D, HEADS, **{name: True}))
    assert type(explicit(module)[0]) is nn.MultiheadAttention
    with pytest.raises(ValueError, match="neither bias_k"):
        ExplicitAttention(D, HEADS, **{name: True})


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((N, S, D), (S, D), (S, D)), {}, "all have three dimensions"),
        (((N, S, D), (1, S, D), (1, S, D)), {}, "one batch size"),
        (((N, S, D), (N, S, D), (N, L, D)), {}, "one length"),
        (((N, S, D),) * 3, {"is_causal": True}, "causal attn_mask, got None"),
        (((N, S, D),) * 3, {"attn_mask": torch.zeros(1, S)}, "attn_mask must be bool or float"),
        (((N, S, D),) * 3, {"key_padding_mask": torch.zeros(N, S).int()}, "got torch.int32"),
    ],
)
def test_inputs_that_do_not_fit(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        ExplicitAttention(D, HEADS, batch_first=True)(*map(torch.zeros, shapes), **options)
