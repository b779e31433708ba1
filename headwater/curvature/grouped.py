"""Vectors of all parameters, cut into groups and put together again."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from headwater.gradients import Dense, Gradients, Scheme


def as_gradients(scheme: Scheme, vectors: Tensor) -> Gradients:
    """Return vectors (m, p) as gradients of a scheme, one term per group."""
    terms = [Dense(scheme.take(vectors, group)) for group in range(len(scheme.groups))]
    return Gradients(scheme, terms, vectors.new_zeros(len(vectors)))


def as_vectors(scheme: Scheme, parts: Sequence[Tensor]) -> Tensor:
    """Return the vectors (m, p) that have these parts (m, width), one per group of a scheme."""
    terms = [Dense(part) for part in parts]
    return Gradients(scheme, terms, parts[0].new_zeros(len(parts[0]))).dense()
