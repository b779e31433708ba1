"""Stage retrain: models trained without some of the samples."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import load_file
from torch import Tensor

from headwater.progress import track
from headwater.retraining import Job, derive_seed, draw_subsets, leave_one_out, train_many
from headwater.settings import get_setting
from stages.files import resumable, save_array
from stages.parameters import save_parameters
from stages.problem import load_split
from stages.runner import Row, run


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
    cores: Literal["all", "one"]


def main(row: RetrainRow, data: Path, out: Path) -> None:
    """Retrain a model many times and keep all parameters, stacked."""
    retrain = retrain_on_subsets if row.kind == "subsets" else retrain_without_each
    with resumable(out, row, data) as scratch:
        retrain(row, *load_split(data), scratch)


def retrain_on_subsets(row: RetrainRow, inputs: Tensor, labels: Tensor, scratch: Path) -> None:
    """Write masks.npy (n_subsets, n_train) and models.safetensors (n_subsets · n_repeats, ...)."""
    masks = draw_subsets(len(labels), row.fraction, row.count, derive_seed(row.seed, "subsets"))
    pairs = [(subset, repeat) for subset in range(row.count) for repeat in range(row.repeats)]
    jobs = [
        Job(index, derive_seed(row.seed, "retrain", subset, repeat), masks[subset])
        for index, (subset, repeat) in enumerate(pairs)
    ]
    single = scratch / "models"
    single.mkdir(exist_ok=True)
    files = [single / f"{job.index:04d}.safetensors" for job in jobs]
    todo = [job for job in jobs if not files[job.index].exists()]
    models = train_many(row.setting, inputs, labels, todo)
    for job, outputs in track(models, "retraining on subsets", len(todo)):
        save_parameters(files[job.index], outputs)
    states = [load_file(file) for file in files]
    stacked = {name: np.stack([state[name] for state in states]) for name in states[0]}
    save_parameters(scratch / "models.safetensors", stacked)
    save_array(scratch / "masks.npy", masks)
    for file in files:
        file.unlink()
    single.rmdir()


def retrain_without_each(row: RetrainRow, inputs: Tensor, labels: Tensor, scratch: Path) -> None:
    """Write removed.npy (r,) and models.safetensors (1 + r, ...), the full model first."""
    rng = np.random.default_rng(derive_seed(row.seed, "leave-one-out"))
    removed = np.sort(rng.permutation(len(labels))[: row.count])
    seed = derive_seed(row.seed, "leave-one-out", "training")
    stacked = leave_one_out(get_setting(row.setting), inputs, labels, removed, seed)
    save_parameters(
        scratch / "models.safetensors", {name: t.numpy() for name, t in stacked.items()}
    )
    save_array(scratch / "removed.npy", removed)


if __name__ == "__main__":
    run("retrain", RetrainRow, main, "data", "out")
