"""The whole matrix of each projection, redrawn entry by entry: the slow twins of the projections.

A layer-wise projection gets its matrix from the model: which parameters are weights and biases of
Linear layers whose gradients factor, and which are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from headwater.projections import (
    FactGraSS,
    GradientProjection,
    GraSS,
    Kronecker,
    Rademacher,
    RandomMask,
    SparseJL,
)
from tests import reference

WHOLE, IN, OUT = 256, 257, 258


def matrix(projection: GradientProjection, size: int) -> Tensor:
    """P (k, p) of a projection of vectors."""
    if isinstance(projection, Rademacher):
        k, seed = projection.dimension, projection.seed
        return reference.rademacher_matrix(k, size, seed, projection.checkpoint)
    if isinstance(projection, SparseJL):
        return _sparse(projection, size)
    if isinstance(projection, RandomMask):
        return _mask(projection, size)
    if isinstance(projection, GraSS):
        k, seed, c = projection.dimension, projection.seed, projection.checkpoint
        kept = min(size, k * projection.blowup)
        mask = _mask(RandomMask(kept, seed, c), size)
        return _sparse(SparseJL(k, seed, c, projection.nonzeros), kept) @ mask
    return reference.projection_matrix(projection, size)


def _sparse(projection: SparseJL, size: int) -> Tensor:
    k, s = projection.dimension, projection.nonzeros
    found = torch.zeros(k, size, dtype=torch.float64)
    for start in range(0, size, 4096):
        height = min(4096, size - start)
        key = [projection.seed, projection.checkpoint, start // 4096]
        words = np.random.PCG64(np.random.SeedSequence(key)).random_raw(height * s)
        for i in range(height):
            for r in range(s):
                word = int(words[i * s + r])
                first, last = r * k // s, (r + 1) * k // s
                output = first + (word >> 32) * (last - first) // 2**32
                found[output, start + i] += (2.0 * (word % 2) - 1.0) / math.sqrt(s)
    return found


def _mask(projection: RandomMask, size: int) -> Tensor:
    key = np.random.SeedSequence([projection.seed, projection.checkpoint, 0], spawn_key=(1,))
    generator = np.random.Generator(np.random.PCG64(key))
    kept = generator.choice(size, projection.dimension, replace=False, shuffle=False)
    found = torch.zeros(len(kept), size, dtype=torch.float64)
    for row, coordinate in enumerate(sorted(kept.tolist())):
        found[row, coordinate] = math.sqrt(size / len(kept))
    return found


def fitted(projection: GradientProjection, size: int) -> Tensor:
    """P, or the identity where the vectors are no longer than it."""
    if size <= projection.dimension:
        return torch.eye(size, dtype=torch.float64)
    return matrix(projection, size)


def layerwise_matrices(
    projection: Kronecker | FactGraSS, model: nn.Module, dense: Sequence[str] = ()
) -> list[Tensor]:
    """The rows of P layer by layer, each (k_l, p); `dense` names Linear layers that do not factor."""
    parameters = {n: t for n, t in model.named_parameters() if t.requires_grad}
    place, p = {}, 0
    for name, t in parameters.items():
        place[name] = torch.arange(p, p + t.numel())
        p += t.numel()
    blocks, left = [], dict(place)
    for name, module in model.named_modules():
        weight = f"{name}.weight".lstrip(".")
        if not isinstance(module, nn.Linear) or name in dense or weight not in place:
            continue
        columns = [left.pop(weight).view(module.out_features, module.in_features)]
        bias = f"{name}.bias".lstrip(".")
        if bias in place:
            columns.append(left.pop(bias)[:, None])
        columns = torch.cat(columns, 1)  # (d_out, d_in + 1): the bias is one more input
        block = _layer(projection, name, columns.shape[1], columns.shape[0])
        blocks.append(torch.zeros(len(block), p, dtype=torch.float64))
        blocks[-1][:, columns.flatten()] = block
    if left:
        rest = torch.cat(list(left.values()))
        block = fitted(_rest(projection), len(rest))
        blocks.append(torch.zeros(len(block), p, dtype=torch.float64))
        blocks[-1][:, rest] = block
    return blocks


def _seed(projection: Kronecker | FactGraSS, name: str, side: int) -> int:
    entropy = np.random.SeedSequence(projection.seed, spawn_key=(*name.encode(), side))
    return int(entropy.generate_state(1, np.uint64)[0])


def _layer(projection: Kronecker | FactGraSS, name: str, d_in: int, d_out: int) -> Tensor:
    """P_l of one layer, (k_l, d_out · d_in), row by row of the weight."""
    c, seeds = projection.checkpoint, [_seed(projection, name, s) for s in (IN, OUT, WHOLE)]
    if isinstance(projection, Kronecker):
        inside = fitted(projection.kind(projection.dimension_in, seeds[0], c), d_in)
        outside = fitted(projection.kind(projection.dimension_out, seeds[1], c), d_out)
        return torch.kron(outside.contiguous(), inside.contiguous())
    entries = projection.dimension * projection.blowup
    side = math.ceil(math.sqrt(entries))
    inside = fitted(RandomMask(max(side, math.ceil(entries / d_out)), seeds[0], c), d_in)
    outside = fitted(RandomMask(max(side, math.ceil(entries / d_in)), seeds[1], c), d_out)
    both = torch.kron(outside, inside)
    sparse = SparseJL(projection.dimension, seeds[2], c, projection.nonzeros)
    return fitted(sparse, len(both)) @ both


def _rest(projection: Kronecker | FactGraSS) -> GradientProjection:
    seed, c = _seed(projection, "", WHOLE), projection.checkpoint
    if isinstance(projection, Kronecker):
        return projection.kind(projection.dimension_in * projection.dimension_out, seed, c)
    return GraSS(projection.dimension, seed, c, projection.blowup, projection.nonzeros)
