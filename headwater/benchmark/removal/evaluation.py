"""What a method is worth by retraining without the samples that it ranks highest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.benchmark.evaluation import as_record
from headwater.benchmark.removal.design import flip_share
from headwater.metrics import brittleness, query_loss_difference, removal_curve

__all__ = ["RemovalEvaluation"]


@dataclass(frozen=True)
class RemovalEvaluation:
    """Losses of queries after their top samples were removed, or random ones, and how they are compared.

    Args:
        design: which model is which, by its place in the arrays below: {"queries": test samples,
            "n_train", "counts": numbers of removed samples, "largest": the most that bisection removes,
            "full": [seed], "random": [count][seed], "methods": {name: {"top": [count][seed][query],
            "steps": [query]{removed samples: model}}}}.
        loss: of the test samples by each model, (n_models, n_test).
        right: whether its prediction is the label, (n_models, n_test).
        bootstrap: replicates, confidence and seed of the intervals.
    """

    design: Mapping[str, Any]
    loss: NDArray[Any]
    right: NDArray[Any]
    bootstrap: Mapping[str, Any]

    @property
    def labels(self) -> list[tuple[str, str]]:
        """Return (name, title) of each metric of `of`, in order; names are fit for ``dvc metrics``."""
        percents = [f"{100 * share:g}" for share in self._shares]
        found = [(f"qld_{p.replace('.', '_')}pct", f"QLD {p} %") for p in percents]
        return found + ([("brittleness", "brittleness")] if self.design["largest"] else [])

    def record(self) -> dict[str, Any]:
        """Return what all methods share: queries, shares, and the curve of random removal."""
        queries = self.design["queries"]
        full = self.loss[self.design["full"]][:, queries]
        random = self.loss[np.asarray(self.design["random"])][:, :, queries]
        return {
            "queries": queries,
            "labels": self.labels,
            "curve": self._curve(random, full),
        }

    def of(self, method: str) -> dict[str, Any]:
        """Return {metric: estimate, "removal": {"curve", "right", "flipped"}} of a method.

        The curve is of the loss, whatever function the method explains, so that methods compare.
        `right` counts the queries that the full model gets right, `flipped` those of them that bisection
        flipped; without any there is no brittleness.
        """
        queries = self.design["queries"]
        full = self.loss[self.design["full"]][:, queries]
        random = self.loss[np.asarray(self.design["random"])][:, :, queries]
        top = self.loss[np.asarray(self.design["methods"][method]["top"]), queries]
        found: dict[str, Any] = {
            name: as_record(query_loss_difference(without_top, without_random, **self.bootstrap))
            for (name, _), without_top, without_random in zip(
                self.labels, top, random, strict=False
            )
        }
        removal: dict[str, Any] = {"curve": self._curve(top, full)}
        if self.design["largest"]:
            shares = self._flip_shares(method)
            right = ~np.isnan(shares)
            removal |= {"right": int(right.sum()), "flipped": int(np.isfinite(shares).sum())}
            if right.any():
                largest = self.design["largest"] / self.design["n_train"]
                found["brittleness"] = as_record(brittleness(shares, largest, **self.bootstrap))
        return {**found, "removal": removal}

    @property
    def _shares(self) -> list[float]:
        return [round(count / self.design["n_train"], 6) for count in self.design["counts"]]

    def _curve(self, without: NDArray[Any], full: NDArray[Any]) -> list[dict[str, float]]:
        """Return the mean change of the loss from the full model at each share."""
        changes = removal_curve(without, full, **self.bootstrap)
        return [
            {"share": share, **as_record(change)}
            for share, change in zip(self._shares, changes, strict=True)
        ]

    def _flip_shares(self, method: str) -> NDArray[np.float64]:
        """Return the smallest share known to flip each query, (n_queries,)."""
        shares = []
        for j, steps in zip(
            self.design["queries"], self.design["methods"][method]["steps"], strict=True
        ):
            known = {int(count): bool(self.right[model, j]) for count, model in steps.items()}
            shares.append(flip_share(known, self.design["largest"], self.design["n_train"]))
        return np.asarray(shares)
