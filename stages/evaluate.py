"""Stage evaluate: the metrics of one method on one setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from headwater.metrics import (
    Estimate,
    leave_one_out_correlation,
    linear_datamodeling_score,
    noisy_label_auc,
)
from stages.files import save_json
from stages.runner import Row, run


class EvaluateRow(Row):
    """Which metrics, and how they are computed."""

    problem: str
    method: str
    function: str
    n_tune: int
    leave_one_out: bool
    seed: int
    bootstrap: int
    confidence: float
    tuned: str
    damping: float | None


def main(
    row: EvaluateRow,
    scores: Path,
    suspects: Path,
    noisy: Path,
    truth: Path,
    tuned: Path,
    out: Path,
) -> None:
    """Compare scores with the ground truth; the first n_tune test samples are kept apart."""
    matrix = np.load(scores, mmap_mode="r")
    record: dict[str, Any] = {"function": row.function, "damping": row.damping}
    if tuned.suffix == ".json":
        record |= {"damping": json.loads(tuned.read_text())["damping"], "tuned": True}
    for name, part in (("tune", slice(row.n_tune)), ("report", slice(row.n_tune, None))):
        record[name] = {"lds": as_record(_lds(row, matrix[:, part], truth / "subsets", part))}
        if row.leave_one_out:
            found = _loo(row, matrix[:, part], truth / "leave-one-out", part)
            record[name]["loo"] = as_record(found)
    record["report"]["auc"] = as_record(
        noisy_label_auc(np.load(suspects), load_file(noisy)["flipped"], **_bootstrap(row))
    )
    save_json(out, record)


def _lds(row: EvaluateRow, scores: NDArray[np.float32], truth: Path, part: slice) -> Estimate:
    outputs = np.load(truth / f"{row.function}.npy")[:, :, part]
    return linear_datamodeling_score(
        scores, np.load(truth / "masks.npy"), outputs, **_bootstrap(row)
    )


def _loo(row: EvaluateRow, scores: NDArray[np.float32], truth: Path, part: slice) -> Estimate:
    outputs = np.load(truth / f"{row.function}.npy")[:, part]
    return leave_one_out_correlation(
        scores, np.load(truth / "removed.npy"), outputs[1:], outputs[0], **_bootstrap(row)
    )


def _bootstrap(row: EvaluateRow) -> dict[str, Any]:
    return {"replicates": row.bootstrap, "confidence": row.confidence, "seed": row.seed}


def as_record(estimate: Estimate) -> dict[str, float]:
    """Return value and interval, rounded to what the bootstrap resolves."""
    names = ("value", "low", "high")
    return {name: round(float(getattr(estimate, name)), 4) for name in names}


if __name__ == "__main__":
    run("evaluate", EvaluateRow, main, "scores", "suspects", "noisy", "truth", "tuned", "out")
