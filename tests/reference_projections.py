"""The whole matrix of each projection, drawn entry by entry in Python's integers: the slow twins.

A layer-wise projection gets its matrix from the model: which parameters are the matrix of a layer
(and its bias), and which are not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from statistics import NormalDist

import torch
from torch import Tensor, nn

from headwater.projections import (
    FactGraSS,
    Gaussian,
    GradientProjection,
    GraSS,
    Kronecker,
    Projection,
    Rademacher,
    RandomMask,
    SparseJL,
)


def mixed(x: int) -> int:
    """Wellons' lowbias32."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def word(key: int, place: int, column: int = 0) -> int:
    """Word `column` of a place, 0 … 2^32 - 1."""
    row = mixed(key % 2**32 ^ mixed(place % 2**32))
    row = mixed((row + (key >> 32) + (place >> 32) * 0x9E3779B9) % 2**32)
    return mixed((row + column * 0x9E3779B9) % 2**32)


def key(*parts: object) -> int:
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


# Of vectors ------------------------------------------------------------------------------------


def matrix(projection: GradientProjection, size: int) -> Tensor:
    """P (k, p) of a projection of vectors."""
    assert isinstance(projection, Projection)
    if isinstance(projection, GraSS):
        k, seed, c = projection.dimension, projection.seed, projection.checkpoint
        kept = min(size, k * projection.blowup)
        mask = _mask(RandomMask(kept, seed, c), size)
        return _sparse(SparseJL(k, seed, c, projection.nonzeros), kept) @ mask
    kinds = {Rademacher: _signs, Gaussian: _normal, SparseJL: _sparse, RandomMask: _mask}
    return kinds[type(projection)](projection, size)


def _key(projection: Projection, kind: str) -> int:
    return key(kind, projection.seed, projection.checkpoint)


def _signs(projection: Rademacher, size: int) -> Tensor:
    k, stream = projection.dimension, _key(projection, "signs")
    rows = [[word(stream, j, b // 32) >> b % 32 & 1 for j in range(size)] for b in range(k)]
    return (2.0 * torch.tensor(rows, dtype=torch.float64) - 1.0) / math.sqrt(k)


QUANTILES = torch.tensor(
    [NormalDist().inv_cdf((h + 0.5) / 2**16) for h in range(2**16)], dtype=torch.float64
)


def _normal(projection: Gaussian, size: int) -> Tensor:
    k, stream = projection.dimension, _key(projection, "normal")
    rows = [
        [word(stream, j, b // 2) >> 16 * (b % 2) & 0xFFFF for j in range(size)] for b in range(k)
    ]
    drawn = (QUANTILES / QUANTILES.square().mean().sqrt())[torch.tensor(rows)]
    return drawn.float().double() / math.sqrt(k)


def _sparse(projection: SparseJL, size: int) -> Tensor:
    k, s, stream = projection.dimension, projection.nonzeros, _key(projection, "sparse")
    found = torch.zeros(k, size, dtype=torch.float64)
    for j in range(size):
        for r in range(s):
            drawn = word(stream, j, r)
            first, last = r * k // s, (r + 1) * k // s
            output = first + (drawn >> 1) * (last - first) // 2**31
            found[output, j] += (2.0 * (drawn % 2) - 1.0) / math.sqrt(s)
    return found


def _mask(projection: RandomMask, size: int) -> Tensor:
    k, stream = projection.dimension, _key(projection, "mask")
    found = torch.zeros(k, size, dtype=torch.float64)
    for part in range(k):
        first, last = part * size // k, (part + 1) * size // k
        kept = first + (word(stream, part) >> 1) * (last - first) // 2**31
        found[part, kept] = math.sqrt(last - first)
    return found


def fitted(projection: GradientProjection, size: int) -> Tensor:
    """P, or the identity where the vectors are no longer than it."""
    if size <= projection.dimension:
        return torch.eye(size, dtype=torch.float64)
    return matrix(projection, size)


# Of layers -------------------------------------------------------------------------------------


def layerwise_matrices(
    projection: Kronecker | FactGraSS, model: nn.Module, whole: Sequence[str] = ()
) -> list[Tensor]:
    """The rows of P layer by layer, each (k_l, p); `whole` names layers that are not factored."""
    parameters = {n: t for n, t in model.named_parameters() if t.requires_grad}
    left, p = {}, 0
    for name, t in parameters.items():
        left[name] = torch.arange(p, p + t.numel())
        p += t.numel()
    blocks = []
    for name, columns in _layers(model, left, whole):
        block = layer_matrix(projection, name, columns.shape[1], columns.shape[0])
        blocks.append(torch.zeros(len(block), p, dtype=torch.float64))
        blocks[-1][:, columns.flatten()] = block
    if left:
        rest = torch.cat(list(left.values()))
        block = fitted(rest_projection(projection), len(rest))
        blocks.append(torch.zeros(len(block), p, dtype=torch.float64))
        blocks[-1][:, rest] = block
    return blocks


def _layers(
    model: nn.Module, left: dict[str, Tensor], whole: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """Take out of `left` where the matrix of each layer lies, (d_out, d_in (+ 1)), with its name."""
    uses = Counter(id(getattr(module, "weight", None)) for module in model.modules())
    for name, module in model.named_modules():
        weight, bias = f"{name}.weight".lstrip("."), f"{name}.bias".lstrip(".")
        known = isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d)
        if not known or getattr(module, "groups", 1) > 1 or name in whole or weight not in left:
            continue
        if uses[id(module.weight)] > 1:
            continue  # tied: its uses see two shapes
        columns = left.pop(weight).view(len(module.weight), -1)
        if isinstance(module, nn.Embedding):
            columns = columns.T
        if bias in left:  # one more input
            columns = torch.cat([columns, left.pop(bias)[:, None]], 1)
        yield weight, columns


def part_seed(projection: Kronecker | FactGraSS, name: str, part: str) -> int:
    return key("layer", projection.seed, name, part)


def layer_matrix(projection: Kronecker | FactGraSS, name: str, d_in: int, d_out: int) -> Tensor:
    """P_l of one layer, (k_l, d_out · d_in), row by row of the matrix, its bias one more input."""
    c = projection.checkpoint
    seeds = [part_seed(projection, name, part) for part in ("in", "out", "whole")]
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


def rest_projection(projection: Kronecker | FactGraSS) -> Projection:
    """That of all parameters without a matrix."""
    seed, c = part_seed(projection, "", "rest"), projection.checkpoint
    if isinstance(projection, Kronecker):
        return projection.kind(projection.dimension_in * projection.dimension_out, seed, c)
    return GraSS(projection.dimension, seed, c, projection.blowup, projection.nonzeros)
