"""Answers as records: the proponents and opponents of test samples, and of a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.query.made import Made
from pipelines.query.new import Scored, answer, cheap_method
from pipelines.query.ranking import ends
from pipelines.query.sample import describe, label_of, name_of, read_sample
from pipelines.results import best, metrics_of

__all__ = ["default_method", "of_file", "of_tests"]


def default_method(made: Made, *, new: bool) -> str:
    """Return the method with the highest LDS; for a new sample, of those with one checkpoint."""
    return best(metrics_of(made.name), checkpoints=1 if new else None)


def of_tests(made: Made, tests: list[int], method: str, top: int) -> dict[str, Any]:
    """Return the proponents and opponents of test samples, from the scores of a method.

    Raises:
        ValueError: if there is no such test sample.
        NotMade: if the scores are not there.
    """
    scores, function = made.scores(method), str(made.choice(method)["function"])
    for test in tests:
        if not 0 <= test < scores.shape[1]:
            raise ValueError(
                f"a test sample of {made.name} must be one of 0 … {scores.shape[1] - 1}, got {test}"
            )
    rows = np.arange(len(scores))
    return {
        **_head(made, method, function),
        "queries": [
            {
                "test": test,
                "shown": name_of(made, "test", test),
                **_ends(made, rows, np.array(scores[:, test]), function, top),
            }
            for test in tests
        ],
    }


def of_file(
    made: Made, path: Path, method: str, top: int, label: str | None, shortlist: int,
    first: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the proponents and opponents of the new sample in a file.

    Args:
        made: the artifacts of its setting.
        path: the file.
        method: whose scores they are.
        top: how many on each side.
        label: what is explained; None: what the file says, or else what the model predicts.
        shortlist: how many training samples the method scores.
        first: the method that chooses these; None: the cheapest on projected gradients.

    Raises:
        ValueError: if the file, the label or a method does not fit the setting.
        NotMade: if something that a run makes is not there.
    """
    if first is not None:
        made.choice(first)  # it must be there, also where it is not needed
    inputs, labels = read_sample(path, made)
    given = label_of(label, made) if label is not None else labels
    found = answer(made, method, inputs, given, shortlist, first or cheap_method(made))
    query = {
        "file": str(path),
        "shown": describe(made, inputs, found.labels),
        "label": "predicted" if given is None else "given",
        "value": found.value,
        **_ends(made, found.rows, found.scores, found.function, top),
    }
    head = {**_head(made, method, found.function), "scored": len(found.rows)}
    return {**head, "seconds": round(found.seconds, 2), "first": _first(made, found.first),
            "queries": [query]}  # fmt: skip


def _head(made: Made, method: str, function: str) -> dict[str, Any]:
    return {
        "setting": made.name,
        "method": method,
        "explains": function,
        "checkpoints": made.method(method).count,
        "lds": made.metrics.get(method, {}).get("lds"),
        "train_samples": len(made.train[1]),
    }


def _first(made: Made, scored: Scored | None) -> dict[str, Any] | None:
    if scored is None:
        return None
    head = _head(made, scored.method, scored.function)
    store = made.method(scored.method).store
    return {
        "method": scored.method, "explains": scored.function, "store": store, "lds": head["lds"],
        "checkpoints": head["checkpoints"], "seconds": round(scored.seconds, 2),
    }  # fmt: skip


def _ends(
    made: Made, rows: NDArray[np.intp], scores: NDArray[np.float32], function: str, top: int
) -> dict[str, Any]:
    found = ends(scores, function, top)
    return {
        side: [
            {
                "train": int(rows[place]),
                "score": float(scores[place]),
                "shown": name_of(made, "train", int(rows[place])),
            }
            for place in places
        ]
        for side, places in found._asdict().items()
    }
