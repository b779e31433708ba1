"""Explorer pages of small made-up problems, for tests."""

from __future__ import annotations

import numpy as np

from headwater.explorer import Evidence, Music, Split, Suspects, Text, TokenScores, explore
from headwater.scores import Scores

HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><b>"
N_TRAIN, N_TEST = 40, 12


def scores(seed: int, method: str, function: str = "loss") -> Scores:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(N_TRAIN, N_TEST)).astype(np.float32)
    values[7] = values[3]  # these two are interchangeable
    values[3, 0] = values[7, 0] = -9
    return Scores(values, method, function, setting="toy")


def labels(n: int) -> list[int]:
    return [i % 3 for i in range(n)]


def image_page(path):
    """Two methods, and all that can be said beside them; one class has a hostile name."""
    rng = np.random.default_rng(0)
    first, second = scores(0, "first"), scores(1, HOSTILE, "margin")
    point = {"share": 0.05, "value": 0.1, "low": 0.05, "high": 0.2}
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    train = Split(rng.random((N_TRAIN, 8, 8)), labels(N_TRAIN), labels(N_TRAIN)[::-1])
    losses = np.arange(N_TEST) / 10
    test = Split(rng.random((N_TEST, 8, 8)), labels(N_TEST), [0] * N_TEST, losses)
    return explore(
        [first, second],
        train,
        test,
        path,
        classes=["cat", HOSTILE, "dog"],
        evidence={
            "first": Evidence(
                estimate, {"value": 0.8, "low": 0.75, "high": 0.85}, 5, [point], [point]
            )
        },
        per_model={"first": [first.values, scores(2, "x").values]},
        suspects=Suspects({"first": np.arange(N_TRAIN)}, flipped=np.arange(N_TRAIN) % 2 == 1),
    )


def text_page(path):
    """Tokens with scores of their own; one is hostile."""
    words = ["to", " be", " or", " not", HOSTILE, "\n"]
    rng = np.random.default_rng(0)
    tokens = rng.integers(len(words), size=(N_TRAIN, 6))
    tests = rng.integers(len(words), size=(N_TEST, 5))
    found = scores(0, "first")
    by_test = rng.normal(size=(N_TRAIN, N_TEST, 5)).astype(np.float32)
    by_train = rng.normal(size=(N_TRAIN, 6, N_TEST)).astype(np.float32)
    decode = words.__getitem__
    return explore(
        found,
        Split(Text.of_tokens(tokens, decode)),
        Split(Text.of_tokens(tests, decode), losses=np.arange(N_TEST)),
        path,
        tokens={"first": TokenScores(by_test, by_train)},
        lines=path.with_suffix(".jsonl"),
    )


def music_page(path):
    """Pieces of four notes."""
    pieces = [
        [(0.1 * i, 0.1 * i + 0.08, 60 + (i + k) % 12, 80) for i in range(4)] for k in range(N_TRAIN)
    ]
    return explore(scores(0, "first"), Music(pieces), Music(pieces[:N_TEST]), path)
