"""Stage retrain: the ground truth, made by training without some of the samples."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from headwater.progress import track
from headwater.retraining import (
    Job,
    derive_seed,
    draw_subsets,
    leave_one_out,
    target_outputs,
    train_many,
)
from headwater.settings import get_setting
from headwater.settings.setting import Samples
from stages.files import resumable, save_array
from stages.problem import load_samples
from stages.runner import Row, run

TARGETS = ("loss", "margin")


class RetrainRow(Row):
    """Many models on random subsets, or one model without each of some samples."""

    setting: str
    model: str
    module: str
    dataset: str
    problem: str
    kind: Literal["subsets", "leave-one-out"]
    count: int
    fraction: float
    repeats: int
    seed: int


def main(row: RetrainRow, data: Path, out: Path) -> None:
    """Retrain the models of a problem and keep their targets at the test samples."""
    samples = load_samples(data)
    with resumable(out, row, data) as scratch:
        if row.kind == "subsets":
            retrain_on_subsets(row, samples, scratch)
        else:
            retrain_without_each(row, samples, scratch)


def retrain_on_subsets(row: RetrainRow, samples: Samples, scratch: Path) -> None:
    """Write masks.npy (n_subsets, n_train) and TARGET.npy (n_subsets, n_repeats, n_test)."""
    n = len(samples.train_labels)
    masks = draw_subsets(n, row.fraction, row.count, derive_seed(row.seed, "subsets"))
    jobs = [
        Job(
            subset * row.repeats + repeat,
            derive_seed(row.seed, "retrain", subset, repeat),
            masks[subset],
        )
        for subset in range(row.count)
        for repeat in range(row.repeats)
    ]
    finished = scratch / "models"
    finished.mkdir(exist_ok=True)
    todo = [job for job in jobs if not (finished / f"{job.index}.npy").exists()]
    for job, outputs in track(
        train_many(row.setting, samples, todo, finish=target_outputs), "retraining on subsets", len(todo)
    ):
        save_array(finished / f"{job.index}.npy", np.stack([outputs[t] for t in TARGETS]))
    values = np.stack([np.load(finished / f"{job.index}.npy") for job in jobs])
    values = values.reshape(row.count, row.repeats, len(TARGETS), -1)
    for i, target in enumerate(TARGETS):
        save_array(scratch / f"{target}.npy", np.ascontiguousarray(values[:, :, i]))
    save_array(scratch / "masks.npy", masks)
    for job in jobs:
        (finished / f"{job.index}.npy").unlink()
    finished.rmdir()


def retrain_without_each(row: RetrainRow, samples: Samples, scratch: Path) -> None:
    """Write removed.npy (r,), and TARGET-without.npy (r, n_test) with TARGET-full.npy (n_test,)."""
    n = len(samples.train_labels)
    rng = np.random.default_rng(derive_seed(row.seed, "leave-one-out"))
    removed = np.sort(rng.permutation(n)[: row.count])
    setting = get_setting(row.setting)
    outputs = leave_one_out(
        setting, samples, removed, derive_seed(row.seed, "leave-one-out", "training")
    )
    for target in TARGETS:
        save_array(scratch / f"{target}-without.npy", outputs.without[target])
        save_array(scratch / f"{target}-full.npy", outputs.full[target])
    save_array(scratch / "removed.npy", removed)


if __name__ == "__main__":
    run("retrain", RetrainRow, main, "data", "out")
