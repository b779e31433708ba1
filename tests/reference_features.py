"""Slow twins of the methods that work on features: loops, subsets and dense matrices.

A model's last Linear layer is called `head` here; with the identity in its place the model returns
the head's input.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MODULUS = 2**64


def head_inputs(model: nn.Module, batch: Any) -> Tensor:
    """a_i, one sample at a time, (n, d)."""
    bare = copy.deepcopy(model).eval()
    bare.head = nn.Identity()
    with torch.no_grad():
        ones = [tuple(t[i : i + 1] for t in batch[:-1]) for i in range(len(batch[0]))]
        return torch.stack([bare(*one)[0] for one in ones])


def unit(vector: Tensor) -> Tensor:
    """x / ‖x‖, and 0 for 0."""
    return vector / vector.norm() if bool(vector.any()) else vector


def cosines(train: Tensor, test: Tensor) -> Tensor:
    """cos(a_i, a_j), pair by pair."""
    return torch.stack([torch.stack([unit(a) @ unit(b) for b in test]) for a in train])


def same_label(train: Tensor, test: Tensor) -> Tensor:
    """1[y_i = y_j], pair by pair."""
    return torch.tensor([[1.0 if a == b else 0.0 for b in test] for a in train]).double()


def neighbour_accuracy(
    subset: tuple[int, ...], distances: list[float], right: Any, k: int
) -> float:
    """(1/k) · the right labels among the min(k, |S|) nearest of a subset."""
    nearest = sorted(subset, key=lambda i: distances[i])[:k]
    return sum(bool(right[i]) for i in nearest) / k


def shapley(distances: list[float], right: Any, k: int) -> list[float]:
    """Σ_S |S|! (n-|S|-1)! / n! (ν(S ∪ i) - ν(S)), over all subsets S without i."""
    n, values = len(distances), []
    for i in range(n):
        others, value = [j for j in range(n) if j != i], 0.0
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for subset in itertools.combinations(others, size):
                gain = neighbour_accuracy((*subset, i), distances, right, k)
                gain -= neighbour_accuracy(subset, distances, right, k)
                value += weight * gain
        values.append(value)
    return values


def knn_shapley(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], k: int) -> Tensor:
    """The Shapley values by enumeration, (n, m), from (features, labels) of both sides."""
    columns = []
    for x, y in zip(*test, strict=True):
        distances = [float((a - x).norm()) for a in train[0]]
        columns.append(shapley(distances, train[1] == y, k))
    return torch.tensor(columns, dtype=torch.float64).T


def refit(x: Tensor, teacher: Tensor, l2: float) -> Tensor:
    """argmin (1/n) Σ CE(q_i, softmax(Θx_i)) + λ‖Θ‖², (C, d), by Newton with the dense Hessian."""
    theta = torch.zeros(teacher.shape[1], x.shape[1], dtype=torch.float64)

    def value(flat: Tensor) -> Tensor:
        log_p = (x @ flat.view_as(theta).T).log_softmax(1)
        return -(teacher * log_p).sum() / len(x) + l2 * flat.square().sum()

    for _ in range(60):
        flat = theta.flatten().requires_grad_()
        (gradient,) = torch.autograd.grad(value(flat), flat)
        curvature = torch.autograd.functional.hessian(value, flat.detach())
        step, size = torch.linalg.solve(curvature, gradient), 1.0
        while value(flat.detach() - size * step) > value(flat.detach()) + 1e-12:
            size /= 2
        theta = theta - size * step.view_as(theta)
        if float(step.norm()) < 1e-14 * max(1.0, float(theta.norm())):
            break
    return theta.detach()


def representer_scores(
    features: tuple[Tensor, Tensor],
    teacher: Tensor,
    target: Callable[[Any, Any], Tensor],
    test: Any,
    l2: float,
) -> Tensor:
    """⟨∂f_j/∂z_j, α_i⟩⟨x_i, x_j⟩ at the refitted logits, pair by pair."""
    x, x_test = features
    theta = refit(x, teacher, l2)
    alpha = [
        -((theta @ a).softmax(0) - q) / (2 * l2 * len(x)) for a, q in zip(x, teacher, strict=True)
    ]
    columns = []
    for j, b in enumerate(x_test):
        z = (theta @ b)[None].requires_grad_()
        one = tuple(t[j : j + 1] for t in test)
        (slope,) = torch.autograd.grad(target(lambda *_, z=z: z, one)[0], z)
        columns.append(
            torch.stack([(slope[0] @ w) * (a @ b) for w, a in zip(alpha, x, strict=True)])
        )
    return torch.stack(columns, 1)


def ngrams(row: list[list[int]], longest: int) -> list[tuple]:
    """All n-grams of a sample's sequences, each with its sequence; none across a negative number."""
    return [
        (which, sequence[start : start + k])
        for which, sequence in enumerate(map(tuple, row))
        for k in range(1, longest + 1)
        for start in range(len(sequence) - k + 1)
        if all(token >= 0 for token in sequence[start : start + k])
    ]


def bm25(train: list[list[tuple]], test: list[list[tuple]], k1: float, b: float) -> Tensor:
    """Σ_g idf(g) f / (f + k₁(1 - b + b l/l̄)), pair by pair, from the terms of each document."""
    mean = sum(map(len, train)) / len(train)

    def weight(term: tuple, document: list[tuple]) -> float:
        having = sum(term in other for other in train)
        rarity = math.log(1 + (len(train) - having + 0.5) / (having + 0.5))
        often = document.count(term)
        return rarity * often / (often + k1 * (1 - b + b * len(document) / mean))

    rows = [[sum(weight(term, one) for term in query) for query in test] for one in train]
    return torch.tensor(rows, dtype=torch.float64)


def content_key(batch: Any, i: int, seed: int) -> int:
    """The first 64 bits of sha256 over the seed and the numbers of a sample."""
    digest = hashlib.sha256(seed.to_bytes(8, "little", signed=True))
    for tensor in batch:
        kind = np.float32 if tensor.is_floating_point() else np.int64
        for number in tensor[i].flatten().tolist():
            digest.update(kind(number).tobytes())
    return int.from_bytes(digest.digest()[:8], "little")


def mixed(a: int, b: int) -> float:
    """A number in [0, 1) from two keys, by the last steps of SplitMix64 in whole numbers."""
    word = (a * 0x9E3779B97F4A7C15 + b) % MODULUS
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % MODULUS
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % MODULUS
    return ((word ^ (word >> 31)) >> 11) / 2**53
