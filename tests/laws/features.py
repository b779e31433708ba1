"""Rows of the methods that take no gradients: representer points, KNN-Shapley, baselines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.attributors import (
    BM25,
    RPS,
    FeatureSimilarity,
    KNNShapley,
    LabelMatch,
    LossOnly,
    RandomScores,
)
from tests import reference
from tests import reference_features as slow
from tests.laws.row import Row, mean
from tests.problems import Problem

SEED = 5
LOGITS_ONLY = {"weight outside": "must be the cross-entropy of the output of the layer 'head'"}
ONE_ROW = {"language model": "the layer of the features must see one row per sample"}
ONE_LABEL = {"language model": "must be \\(inputs, labels\\) with one int64 label per sample"}


def _signed(value: Callable[[Problem, nn.Module], Tensor]) -> Any:
    """Average the value over checkpoints, with the sign of the loss, which the problems explain."""

    def twin(problem: Problem, model: nn.Module, _: int) -> Tensor:
        assert problem.target is None
        return -value(problem, model)

    return mean(twin)


def _cosines(problem: Problem, model: nn.Module) -> Tensor:
    return slow.cosines(*(slow.head_inputs(model, b) for b in (problem.train, problem.test)))


def _random(problem: Problem, _: nn.Module) -> Tensor:
    rows, columns = (
        [slow.content_key(batch, i, SEED) for i in range(len(batch[0]))]
        for batch in (problem.train, problem.test)
    )
    return torch.tensor([[slow.mixed(a, b) for b in columns] for a in rows], dtype=torch.float64)


def _bm25(problem: Problem, _: nn.Module) -> Tensor:
    """Of sentences, all of whose tokens up to the last with a label have one."""
    documents = []
    for tokens, labels in (problem.train, problem.test):
        sides = tokens.masked_fill(labels < 0, -1).tolist(), labels.tolist()
        documents.append([slow.ngrams(list(row), 2) for row in zip(*sides, strict=True)])
    return slow.bm25(*documents, 1.2, 0.6)


def _losses(problem: Problem, model: nn.Module) -> Tensor:
    losses = reference.values(model, problem.loss, problem.train)
    return torch.stack([torch.stack([loss for _ in problem.test[1]]) for loss in losses])


def _knn(neighbours: int, inputs: bool) -> Row:
    def value(problem: Problem, model: nn.Module) -> Tensor:
        batches = problem.train, problem.test
        sides = [(b[0].flatten(1) if inputs else slow.head_inputs(model, b), b[1]) for b in batches]
        return slow.knn_shapley(*sides, neighbours)

    return Row(
        KNNShapley,
        lambda task, order, _: KNNShapley(task, neighbours, inputs=inputs),
        _signed(value),
        checkpoints=2,
        refuses=ONE_LABEL if inputs else ONE_ROW,
    )


def _rps(fit: Any, normalize: bool, **promises: Any) -> Row:
    def twin(problem: Problem, model: nn.Module, _: int) -> Tensor:
        features = []
        for batch in (problem.train, problem.test):
            a = slow.head_inputs(model, batch)
            rows = torch.stack([slow.unit(x) for x in a]) if normalize else a
            features.append(torch.cat([rows, torch.ones(len(a), 1, dtype=a.dtype)], 1))
        with torch.no_grad():
            own = model(problem.train[0]).softmax(1)
        labels = F.one_hot(problem.train[1], own.shape[1]).double()
        teacher = labels if fit == "labels" else own
        l2 = 1.5  # half the damping of the laws, see below
        return slow.representer_scores(features, teacher, problem.loss, problem.test, l2)

    return Row(
        RPS,
        # λ‖Θ‖² here is (damping/2)‖Θ‖² of a problem: the same minimiser.
        lambda task, order, damping: RPS(task, damping / 2, normalize=normalize, fit=fit),
        mean(twin),
        checkpoints=2,
        refuses={**LOGITS_ONLY, **ONE_ROW},
        **promises,
    )


TABLE = {
    "RPS predictions": _rps("predictions", False, positive=False, suspects=False),
    "RPS labels": _rps("labels", False, leave_one_out=0.9),
    "RPS labels normalised": _rps("labels", True, leave_one_out=0.8),
    "KNNShapley": _knn(3, inputs=False),
    "KNNShapley inputs": _knn(2, inputs=True),
    "RandomScores": Row(
        RandomScores,
        lambda task, order, _: RandomScores(task, SEED),
        _signed(_random),
        informed=False,
        suspects=False,
    ),
    "LabelMatch": Row(
        LabelMatch,
        lambda task, *_: LabelMatch(task),
        _signed(lambda problem, _: slow.same_label(problem.train[1], problem.test[1])),
        informed=False,
        suspects=False,
        refuses=ONE_LABEL,
    ),
    "FeatureSimilarity": Row(
        FeatureSimilarity,
        lambda task, *_: FeatureSimilarity(task),
        _signed(_cosines),
        checkpoints=2,
        informed=False,
        suspects=False,
        refuses=ONE_ROW,
    ),
    "BM25": Row(
        BM25,
        lambda task, *_: BM25(task, n=2, k1=1.2, b=0.6),
        _signed(_bm25),
        problem="padded language model",
        informed=False,
        suspects=False,
        refuses=dict.fromkeys(
            ("mlp", "shared linear", "weight outside", "mlp with frozen layer", "conv net"),
            "BM25 needs tokens, whole numbers",
        ),
    ),
    "LossOnly": Row(
        LossOnly,
        lambda task, *_: LossOnly(task),
        _signed(_losses),
        checkpoints=2,
        informed=False,
    ),
}
