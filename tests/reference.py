"""Slow, obviously correct twins of every fast path: loops of autograd, and dense matrices.

Nothing here uses torch.func, hooks or factors. A model is an nn.Module at its checkpoint; gradients
are taken by the parameters that require one, in their order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from headwater.batches import batch_size, select
from tests.reference_projections import matrix as projection_matrix  # noqa: F401

Function = Callable[[Any, Any], Tensor]


def at(model: nn.Module, checkpoint: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of the model at a checkpoint, in evaluation mode."""
    copied = copy.deepcopy(model).eval()
    copied.load_state_dict(dict(checkpoint))
    return copied


def _trainable(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def _flat(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    pairs = zip(parameters, gradients, strict=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g.to_dense()).flatten() for p, g in pairs]
    )


def values(model: nn.Module, function: Function, batch: Any) -> Tensor:
    """f_i, one sample at a time."""
    model = copy.deepcopy(model).eval()
    ones = [select(batch, slice(i, i + 1)) for i in range(batch_size(batch))]
    with torch.no_grad():
        return torch.stack([function(model, one)[0] for one in ones])


def layers(model: nn.Module) -> list[slice]:
    """Where the trainable parameters of one module after the other lie in a gradient."""
    found: dict[str, slice] = {}
    start = 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            module, stop = name.rpartition(".")[0], start + parameter.numel()
            found[module] = slice(found[module].start if module in found else start, stop)
            start = stop
    return list(found.values())


def per_sample_gradients(model: nn.Module, function: Function, batch: Any) -> Tensor:
    """∇f_i, one backward pass a sample, (n, p)."""
    model = copy.deepcopy(model).eval()
    parameters, rows = _trainable(model), []
    for i in range(batch_size(batch)):
        value = function(model, select(batch, slice(i, i + 1)))[0]
        rows.append(_flat(parameters, torch.autograd.grad(value, parameters, allow_unused=True)))
    return torch.stack(rows)


def hessian(model: nn.Module, function: Function, batch: Any) -> Tensor:
    """∇² of the mean of f, one backward pass through the gradient a row, (p, p)."""
    model = copy.deepcopy(model).eval()
    parameters = _trainable(model)
    with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
        mean = function(model, batch).mean()
    gradient = _flat(
        parameters, torch.autograd.grad(mean, parameters, create_graph=True, allow_unused=True)
    )
    rows = []
    for entry in gradient:
        if not entry.requires_grad:
            rows.append(torch.zeros_like(gradient))
            continue
        row = torch.autograd.grad(entry, parameters, retain_graph=True, allow_unused=True)
        rows.append(_flat(parameters, row))
    return torch.stack(rows).detach()


# Linear algebra -------------------------------------------------------------------------------


def conjugate_gradient(matrix: Tensor, rhs: Tensor, iterations: int) -> Tensor:
    """The textbook iteration for one right-hand side."""
    x, r = torch.zeros_like(rhs), rhs.clone()
    d = r.clone()
    for _ in range(iterations):
        if float(r @ r) == 0.0:
            break
        product = matrix @ d
        alpha = (r @ r) / (d @ product)
        x = x + alpha * d
        r_new = r - alpha * product
        d = r_new + (r_new @ r_new) / (r @ r) * d
        r = r_new
    return x


def krylov(matrix: Tensor, rank: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positive eigenpairs of V C Vᵀ, V an orthonormal basis of v, C v, C² v ..., falling."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(len(matrix), generator=generator, dtype=torch.float64).to(matrix.dtype)
    basis: list[Tensor] = []
    for _ in range(rank):
        for _ in range(3):
            for b in basis:
                v = v - (b @ v) * b
            v = v / v.norm()
        basis.append(v)
        v = matrix @ v
    rows = torch.stack(basis)
    values, small = torch.linalg.eigh(rows @ matrix @ rows.T)
    kept = [k for k in range(rank - 1, -1, -1) if float(values[k]) > 0]
    return values[kept], torch.stack([small[:, k] @ rows for k in kept])


def data_inf(rows: Tensor, damping: float, layers: Sequence[slice] = (slice(None),)) -> Tensor:
    """The mean over samples of (r_i r_iᵀ + λI)^-1, on one block of parameters after the other."""
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=rows.dtype)
    for layer in layers:
        for r in rows:
            total[layer, layer] += damped_inverse(torch.outer(r[layer], r[layer]), damping)
    return total / len(rows)


def fisher(rows: Tensor, scale: Tensor | None = None) -> Tensor:
    """(1/n) Σ ρ_i² g_i g_iᵀ, one outer product after the other."""
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=rows.dtype)
    for i, g in enumerate(rows):
        total += (1.0 if scale is None else scale[i] ** 2) * torch.outer(g, g)
    return total / len(rows)


def damped_inverse(matrix: Tensor, damping: float) -> Tensor:
    """(C + λI)^-1."""
    return torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))


# Attributors: one checkpoint each, two loops ---------------------------------------------------


def gradient_products(train: Tensor, test: Tensor) -> Tensor:
    """-⟨g_i, f_j⟩, pair by pair."""
    return -torch.stack([torch.stack([g @ f for f in test]) for g in train])


def gradient_cosines(train: Tensor, test: Tensor) -> Tensor:
    """-cos(g_i, f_j), pair by pair."""
    cosine = torch.nn.functional.cosine_similarity
    return -torch.stack([torch.stack([cosine(g, f, dim=0) for f in test]) for g in train])


def influence(train: Tensor, test: Tensor, curvature: Tensor, damping: float) -> Tensor:
    """-(1/n) f_jᵀ (C + λI)^-1 g_i, pair by pair."""
    inverse = damped_inverse(curvature, damping)
    return gradient_products(train, test @ inverse) / len(train)


def relative_influence(train: Tensor, test: Tensor, inverse: Tensor, norm: str) -> Tensor:
    """-(1/n) f_jᵀ P g_i / √(g_iᵀ P g_i), or / ‖P g_i‖, sample by sample."""
    scores = gradient_products(train, test @ inverse) / len(train)
    for i, g in enumerate(train):
        scores[i] /= (g @ inverse @ g).sqrt() if norm == "loss" else (inverse @ g).norm()
    return scores


def trak(train: Tensor, test: Tensor, projection: Tensor, damping: float) -> Tensor:
    """φ_j (ΦᵀΦ + λI)^-1 φ_i, the part of TRAK that is averaged over checkpoints."""
    phi, phi_test = train @ projection.T, test @ projection.T
    inverse = damped_inverse(phi.T @ phi, damping)
    return -gradient_products(phi, phi_test @ inverse)


def error_probabilities(margins: Tensor) -> Tensor:
    """1 - p_i from the margins log p/(1-p)."""
    p = torch.exp(margins) / (1.0 + torch.exp(margins))
    return 1.0 - p
