"""Slow, obviously correct twins of the structured curvatures: loops of autograd, dense matrices.

As in tests/reference.py: no torch.func, no hooks, no factors that are not checked against autograd.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.reference import Function, per_sample_gradients


def _singles(batch: Any) -> Iterator[Any]:
    for i in range(len(batch[0])):
        yield tuple(t[i : i + 1] for t in batch)


def _rows(outputs: Tensor, inputs: list[Tensor]) -> Tensor:
    """d outputs / d inputs, one backward pass an entry."""
    rows = []
    for entry in outputs.flatten():
        if not entry.requires_grad:
            rows.append(torch.cat([torch.zeros_like(t).flatten() for t in inputs]))
            continue
        found = torch.autograd.grad(entry, inputs, retain_graph=True, allow_unused=True)
        pairs = zip(inputs, found, strict=True)
        rows.append(
            torch.cat([(torch.zeros_like(t) if g is None else g).flatten() for t, g in pairs])
        )
    return torch.stack(rows)


def gauss_newton(model: nn.Module, loss: Function, batch: Any) -> Tensor:
    """(1/n) Σ Jᵀ (∂²ℓ/∂z²) J, one sample after the other, (p, p)."""
    model = copy.deepcopy(model).eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = 0.0
    for one in _singles(batch):
        outputs: list[Tensor] = []

        def recording(*args: Tensor, outputs: list[Tensor] = outputs) -> Tensor:
            outputs.append(model(*args))
            return outputs[0]

        loss(recording, one)
        z = outputs[0].detach().requires_grad_()
        value = loss(lambda *args, z=z: z, one)[0]
        (slope,) = torch.autograd.grad(value, z, create_graph=True)
        jacobian = _rows(outputs[0], parameters)
        total = total + jacobian.T @ _rows(slope, [z]).detach() @ jacobian
    return total / len(batch[0])


def uniform(*numbers: int) -> float:
    """A hash of the numbers in (0, 1), in whole numbers of Python."""

    def mixed(word: int) -> int:
        word = (word ^ word >> 16) * 0x7FEB352D % 2**32
        word = (word ^ word >> 15) * 0x846CA68B % 2**32
        return word ^ word >> 16

    word = 0x7FEB352D
    for number in numbers:
        word = mixed(word ^ mixed(number * 0x9E3779B9 % 2**32))
    return ((word + 2**31) % 2**32 + 0.5) / 2**32


def sampled_labels(model: nn.Module, batch: Any, draws: int = 1, seed: int = 0) -> Any:
    """The samples `draws` times, with labels drawn from the model's softmax, one at a time."""
    model, inputs, labels = copy.deepcopy(model).eval(), [], []
    for d in range(draws):
        for i, (x, _) in enumerate(_singles(batch)):
            with torch.no_grad():
                probabilities = torch.softmax(model(x)[0].double(), 0).tolist()
            u, label, passed = uniform(seed, d, i, 0), 0, probabilities[0]
            while passed <= u and label < len(probabilities) - 1:
                label += 1
                passed += probabilities[label]
            inputs.append(x)
            labels.append(label)
    return torch.cat(inputs), torch.tensor(labels)


def _inputs(module: nn.Module, x: Tensor) -> Tensor:
    """What the weight of a layer is multiplied with at each position, (positions, d_in)."""
    if isinstance(module, nn.Embedding):
        return F.one_hot(x.flatten(), module.num_embeddings).to(module.weight.dtype)
    if isinstance(module, nn.Conv2d):
        return F.unfold(
            x, module.kernel_size, module.dilation, module.padding, module.stride
        ).mT.flatten(0, 1)
    return x.reshape(-1, x.shape[-1])


def _recorded(module: nn.Module, seen: list[tuple[Tensor, Tensor]]) -> None:
    """Make a layer keep its inputs and its outputs, which keep their gradients."""
    plain = module.forward

    def forward(x: Tensor) -> Tensor:
        z = plain(x)
        if not z.requires_grad:
            z.requires_grad_()
        z.retain_grad()
        seen.append((x.detach(), z))
        return z.clone()

    module.forward = forward


def _pairs(module: nn.Module, seen: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """(a, e) of every position of every call, a with a 1 at the end for a trainable bias.

    Of several positions those that no gradient reaches are left out.
    """
    one = [torch.ones(1, dtype=module.weight.dtype)]
    bias = getattr(module, "bias", None)
    has_bias = bias is not None and bias.requires_grad
    found = []
    for x, z in seen:
        errors = torch.zeros_like(z) if z.grad is None else z.grad
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            errors = errors.masked_fill((x == module.padding_idx).unsqueeze(-1), 0.0)
        if isinstance(module, nn.Conv2d):
            errors = errors.flatten(2).mT
        for a, e in zip(_inputs(module, x), errors.reshape(-1, errors.shape[-1]), strict=True):
            found.append((torch.cat([a, *one]) if has_bias else a, e))
    return found if len(found) == 1 else [(a, e) for a, e in found if bool(e.any())]


def _matrix(module: nn.Module, weight: Tensor) -> Tensor:
    """The weight of a layer, or its entries' places, as (d_out, d_in)."""
    return weight.T if isinstance(module, nn.Embedding) else weight.flatten(1)


def layer_factors(model: nn.Module, loss: Function, batch: Any) -> dict[str, list[list[Any]]]:
    """(a, e) of each layer whose weight has the whole gradient Σ_t e aᵀ: layer, sample, position."""
    model = copy.deepcopy(model).eval()
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding))
        and module.weight.requires_grad
        and getattr(module, "groups", 1) == 1
    }
    seen: dict[str, list] = {name: [] for name in layers}
    for name, module in layers.items():
        _recorded(module, seen[name])
    found: dict[str, list] = {name: [] for name in layers}
    for one in _singles(batch):
        model.zero_grad()
        for calls in seen.values():
            calls.clear()
        loss(model, one)[0].backward()
        for name, module in layers.items():
            pairs = _pairs(module, seen[name])
            found[name].append(pairs)
            wanted = _matrix(module, module.weight.grad)
            own = sum((torch.outer(e, a[: wanted.shape[1]]) for a, e in pairs), 0 * wanted)
            if not torch.allclose(own, wanted, atol=1e-12):
                found[name].append("more than its factors")
    return {name: pairs for name, pairs in found.items() if "more than its factors" not in pairs}


def kronecker_factors(
    samples: list[list[tuple[Tensor, Tensor]]], reduce: bool = False
) -> tuple[Tensor, Tensor]:
    """A, the mean of a aᵀ over all positions, and S, the mean over samples of Σ_t e eᵀ.

    Reduced, each sample has one position: the mean of its inputs, and the sum of its e.
    """
    if reduce:
        samples = [
            [(sum(a for a, _ in pairs) / len(pairs), sum(e for _, e in pairs))] for pairs in samples
        ]
    positions = [pair for pairs in samples for pair in pairs]
    inputs = sum(torch.outer(a, a) for a, _ in positions) / len(positions)
    return inputs, sum(torch.outer(e, e) for _, e in positions) / len(samples)


def kfac_block(samples: list[list[tuple[Tensor, Tensor]]], reduce: bool = False) -> Tensor:
    """S ⊗ A, for gradients (d_out, d_in (+ 1)) flattened row by row."""
    inputs, errors = kronecker_factors(samples, reduce)
    return torch.kron(errors, inputs)


def ekfac_block(samples: list[list[tuple[Tensor, Tensor]]], reduce: bool = False) -> Tensor:
    """Q diag(mean of (Qᵀg)²) Qᵀ with Q = Q_S ⊗ Q_A; of one-hot inputs Q_A = I."""
    inputs, errors = kronecker_factors(samples, reduce)
    one_hot = torch.equal(inputs, torch.diag(inputs.diag()))
    basis = torch.eye(len(inputs)).to(inputs) if one_hot else torch.linalg.eigh(inputs)[1]
    basis = torch.kron(torch.linalg.eigh(errors)[1].contiguous(), basis.contiguous())
    gradients = [sum(torch.outer(e, a) for a, e in pairs).flatten() for pairs in samples]
    moments = sum((basis.T @ g).square() for g in gradients) / len(samples)
    return basis @ torch.diag(moments) @ basis.T


def layer_fisher(samples: list[list[tuple[Tensor, Tensor]]]) -> Tensor:
    """The mean of g gᵀ over one layer."""
    gradients = [sum(torch.outer(e, a) for a, e in pairs).flatten() for pairs in samples]
    return sum(torch.outer(g, g) for g in gradients) / len(samples)


def kronecker(model: nn.Module, loss: Function, batch: Any, block: Any) -> Tensor:
    """One block per layer, and the mean squared gradients of all other parameters, (p, p)."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    places, start = {}, 0
    for name, p in trainable.items():
        places[name] = torch.arange(start, start + p.numel()).view(p.shape)
        start += p.numel()
    matrix = torch.diag(per_sample_gradients(model, loss, batch).square().mean(0))
    for name, samples in layer_factors(model, loss, batch).items():
        prefix, module = (f"{name}." if name else ""), model.get_submodule(name)
        where = _matrix(module, places[f"{prefix}weight"])
        if f"{prefix}bias" in places:
            where = torch.cat([where, places[f"{prefix}bias"][:, None]], 1)
        where = where.flatten()
        matrix[where[:, None], where] = block(samples)
    return matrix
