"""The lists of one method: of each test sample the training samples that help and harm it most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headwater.pages import Files
from headwater.scores import Scores, Similarity, diverse_order

__all__ = ["DIVERSE", "Lists"]

DIVERSE = 25
"""How many diverse picks are kept of each list."""
SIDES = (1, -1)
LEVELS = 32767
NONE = 255


@dataclass(frozen=True)
class Lists:
    """The strongest training samples of each test sample, proponents first.

    Args:
        scores: of the method.
        rows: training samples (n_test, 2, k), the strongest first, -1 where no more help or harm.
        diverse: places in these lists, (n_test, 2, d), 255 where there is none.
    """

    scores: Scores
    rows: NDArray[np.int64]
    diverse: NDArray[np.uint8]

    @classmethod
    def of(cls, scores: Scores, keep: int, similarity: Similarity) -> Lists:
        """Rank the training samples of all test samples, and choose diverse ones.

        Args:
            scores: of one method.
            keep: how many samples of each list, at most 255.
            similarity: of the training samples.
        """
        n_train, n_test = scores.shape
        rows = np.full((n_test, 2, min(keep, n_train)), -1, np.int64)
        diverse = np.full((n_test, 2, min(DIVERSE, keep, n_train)), NONE, np.uint8)
        for j in range(n_test):
            for side, sign in enumerate(SIDES):
                found = scores.strongest(j, sign, rows.shape[2])
                rows[j, side, : len(found)] = found
                weights = np.abs(scores.values[found, j])
                picks = diverse_order(weights, similarity.among(found), diverse.shape[2])
                diverse[j, side, : len(picks)] = picks
        return cls(scores, rows, diverse)

    @property
    def values(self) -> NDArray[np.float32]:
        """The scores of the listed samples, 0 where there is none."""
        columns = np.arange(len(self.rows))[:, None, None]
        return np.where(self.rows < 0, 0, self.scores.values[np.maximum(self.rows, 0), columns])

    def pack(
        self,
        places: NDArray[np.int64],
        files: Files,
        prefix: str,
    ) -> dict[str, Any]:
        """Return references to the lists, with samples by their places in the page and scores in 16 bits.

        Args:
            places: of each training sample in the page, -1 for those that are not in it.
            files: of the page.
            prefix: of the names of arrays.
        """
        values = self.values
        largest = np.abs(values).max(axis=(1, 2)).astype(np.float32)
        unit = np.where(largest > 0, largest, 1)[:, None, None]
        shown = np.where(self.rows < 0, 0, places[np.maximum(self.rows, 0)])
        kind = np.uint16 if len(places) <= 1 << 16 else np.uint32
        return {
            "rows": files.add_array(f"{prefix}.rows", shown.astype(kind)),
            "counts": files.add_array(
                f"{prefix}.counts", (self.rows >= 0).sum(axis=2).astype(np.uint16)
            ),
            "scores": files.add_array(
                f"{prefix}.scores", np.round(values / unit * LEVELS).astype(np.int16)
            ),
            "scale": files.add_array(f"{prefix}.scale", largest / LEVELS),
            "diverse": files.add_array(f"{prefix}.diverse", self.diverse),
        }

    def stability(self, per_model: Sequence[ArrayLike]) -> NDArray[np.uint8]:
        """Return how many percent of the models rank each listed sample about as high, (n_test, 2, k).

        About as high is within twice its rank here, or among the first ten.

        Args:
            per_model: scores (n_train, n_test) of each model of the ensemble.

        Raises:
            ValueError: If they have another shape.
        """
        models = [np.asarray(model) for model in per_model]
        if not models or any(model.shape != self.scores.shape for model in models):
            got = [model.shape for model in models][:1]
            raise ValueError(
                f"per_model must hold scores {self.scores.shape} of each model, got {got}: pass them all"
            )
        n_train, k = self.scores.shape[0], self.rows.shape[2]
        allowed = np.maximum(10, 2 * np.arange(1, k + 1))
        agree = np.zeros(self.rows.shape)
        ranks = np.empty(n_train, np.int64)
        for model in models:
            for j, listed in enumerate(self.rows):
                order = np.argsort(-self.scores.sign * model[:, j], kind="stable")
                for side, line in enumerate((order, order[::-1])):
                    ranks[line] = np.arange(1, n_train + 1)
                    agree[j, side] += ranks[listed[side]] <= allowed
        return np.round(100 * agree / len(models)).astype(np.uint8)

    def groups(self, labels: NDArray[np.int64], n_classes: int) -> NDArray[np.float32]:
        """Return how much each class helps each test sample in all, (n_test, n_classes)."""
        members = np.zeros((n_classes, len(labels)), np.float32)
        members[labels, np.arange(len(labels))] = 1
        return self.scores.sign * (members @ self.scores.values).T
