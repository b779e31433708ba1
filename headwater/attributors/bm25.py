"""BM25: how many rare n-grams two sequences share, whatever the model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix
from torch import Tensor

from headwater.attributors.feature_attributor import Describe, DirectedAttributor
from headwater.batches import Batch
from headwater.checks import check_positive
from headwater.gradients.source import GradientSource
from headwater.labels import counted_positions
from headwater.solvers import State
from headwater.task import AttributionTask

__all__ = ["BM25"]


class BM25(DirectedAttributor):
    """Score a pair by the BM25 of training sample i for the n-grams of test sample j as a query.

    v(i, j) = Σ_{g in j} log(1 + (N - N_g + ½)/(N_g + ½)) f_ig / (f_ig + k₁(1 - b + b l_i / l)), f_ig
    how often i has the n-gram g, N_g how many of the N training samples do, l_i how many i has in all,
    l their mean. N-grams of labels are others than those of inputs; padding and ignored labels have
    none. Scores have the sign of `DirectedAttributor`, no unit. Self-influence: v(i, i). Cost: one read
    of the data, whose batches are (tokens, ..., labels), tokens (n, T), or have "input_ids".

    Args:
        n: the longest n-grams, in tokens; shorter ones count too.
        k1: how slowly repetitions of an n-gram saturate.
        b: how much long samples are marked down, 0 to 1.

    Reference:
        Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009.
    """

    def __init__(self, task: AttributionTask, n: int = 3, k1: float = 1.5, b: float = 0.75) -> None:
        super().__init__(task)
        check_positive("n", n)
        try:
            from bm25s import BM25 as Weights  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            hint = "BM25 needs bm25s, got no such package: pip install 'headwater[text]'"
            raise ModuleNotFoundError(hint, name=error.name) from error
        self.n, self.weights = n, Weights(k1=k1, b=b, dtype="float64")

    def describer(self, source: GradientSource) -> Describe:
        """Keep {"tokens": (n, T), "labels": (n, T')}, negative where nothing counts."""
        return _sequences

    def solve(self, source: GradientSource, state: State) -> State:
        """Return {"scores": d · v (n, m)}."""
        weights, counts = self._matrices(state, self.tests(source))
        scores = (weights @ counts.T).toarray() * float(state["direction"])
        return {"scores": torch.from_numpy(scores)}

    def solved_width(self, source: GradientSource) -> int:
        """Return n: the scores of all training samples."""
        return source.n

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return v(i, i)."""
        weights, counts = self._matrices(state, state)
        return torch.from_numpy(np.asarray(weights.multiply(counts).sum(1))).flatten()

    def _matrices(self, train: State, test: State) -> tuple[Any, Any]:
        """Return the weights of n-grams in training samples, and their counts in test samples, sparse."""
        known: dict[tuple[int, ...], int] = {}
        documents, queries = (_numbered(side, self.n, known) for side in (train, test))
        if not any(documents):
            raise ValueError("BM25 needs tokens that count, got none; check attention_mask")
        found = self.weights.build_index_from_ids(range(len(known)), documents, show_progress=False)
        parts = tuple(found[part] for part in ("data", "indices", "indptr"))
        weights = csc_matrix(parts, (len(documents), len(known))).tocsr()
        ends, ids = np.cumsum([0, *map(len, queries)]), np.concatenate(queries).astype(int)
        return weights, csr_matrix((np.ones(len(ids)), ids, ends), (len(queries), len(known)))


def _numbered(kept: State, n: int, known: dict[tuple[int, ...], int]) -> list[list[int]]:
    """Return the n-grams of each sample by their numbers; new ones become known."""
    sequences = [kept[name].tolist() for name in ("tokens", "labels") if name in kept]
    return [
        [
            known.setdefault((part, *gram), len(known))
            for part, tokens in enumerate(sample)
            for k in range(1, n + 1)
            for gram in zip(*(tokens[start:] for start in range(k)), strict=False)
            if min(gram) >= 0
        ]
        for sample in zip(*sequences, strict=True)
    ]


def _sequences(batch: Batch) -> dict[str, Tensor]:
    """Return the tokens and labels of a batch, negative where nothing counts."""
    if isinstance(batch, Mapping):
        tokens, labels = batch.get("input_ids"), batch.get("labels")
    else:
        tokens, labels = (batch[0], batch[-1]) if isinstance(batch, tuple | list) else (batch, None)
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or tokens.is_floating_point():
        raise ValueError(
            "BM25 needs tokens, whole numbers (n, T), as the first of a batch or its 'input_ids', got "
            f"{getattr(tokens, 'dtype', 'none')} {tuple(getattr(tokens, 'shape', ()))}; leave it out"
        )
    found, counted = {"tokens": tokens}, counted_positions(batch)
    if isinstance(labels, Tensor) and not labels.is_floating_point():
        found["labels"] = labels.reshape(len(labels), -1)
    if counted is not None:
        masked = [name for name, t in found.items() if t.shape == counted.shape]
        found |= {name: found[name].masked_fill(~counted, -1) for name in masked}
    return found
