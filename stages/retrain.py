"""Stage retrain: models trained without some of the samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from torch import Tensor

from headwater.benchmark.retraining import Job, draw_subsets, leave_one_out, train_many
from headwater.benchmark.settings import get_setting
from headwater.benchmark.training import derive_seed
from headwater.progress import track
from stages.device import resolve_device
from stages.files import resumable, save_array, save_json
from stages.manifest import Model, manifest_of
from stages.params import Device, Truth
from stages.problem import load_split, save_state
from stages.row import At, Row

Samples = tuple[Tensor, Tensor]
FILE = "model-{:04d}.safetensors"


class RetrainRow(Row):
    """Many models on random subsets, or one model without each of some samples."""

    seed: Annotated[int, At("seed")]
    setting: Annotated[str, At("settings.{setting}.setting")]
    truth: Annotated[Truth, At("settings.{setting}.truth")]
    device: Annotated[Device, At("settings.{setting}.device")]


def main(
    row: RetrainRow,
    setting: str,
    key: Literal["subsets", "leave-one-out"],
    *,
    data: Path,
    out: Path,
) -> None:
    """Retrain a model many times, and keep all parameters; nothing where none is asked for."""
    retrain = {"subsets": retrain_on_subsets, "leave-one-out": retrain_without_each}[key]
    with resumable(out, row, data) as scratch:
        models = retrain(row, load_split(data, resolve_device(row.device)), scratch)
        states = [scratch / FILE.format(i) for i in range(len(models))]
        save_json(scratch / "manifest.json", manifest_of(row.setting, data, models, states))


def retrain_on_subsets(row: RetrainRow, samples: Samples, scratch: Path) -> list[Model]:
    """Write masks.npy (n_subsets, n_train), and a file per model: the repeats of one subset, the next."""
    truth, n = row.truth, len(samples[1])
    masks = draw_subsets(n, truth.fraction, truth.subsets, derive_seed(row.seed, "subsets"))
    jobs = [
        Job(subset * truth.repeats + repeat, derive_seed(row.seed, "retrain", subset, repeat), mask)
        for subset, mask in enumerate(masks)
        for repeat in range(truth.repeats)
    ]
    files = {job.index: scratch / FILE.format(job.index) for job in jobs}
    todo = [job for job in jobs if not files[job.index].exists()]
    models = train_many(row.setting, *samples, todo)
    for job, (checkpoint,) in track(models, "retraining on subsets", len(todo)):
        save_state(files[job.index], checkpoint.state)
    save_array(scratch / "masks.npy", masks)
    return [Model(job.seed, masks[job.index // truth.repeats]) for job in jobs]


def retrain_without_each(row: RetrainRow, samples: Samples, scratch: Path) -> list[Model]:
    """Write removed.npy (r,), and a file per model, the full one first."""
    if not row.truth.leave_one_out:
        return []
    n = len(samples[1])
    rng = np.random.default_rng(derive_seed(row.seed, "leave-one-out"))
    removed = np.sort(rng.permutation(n)[: row.truth.leave_one_out])
    seed = derive_seed(row.seed, "leave-one-out", "training")
    states = leave_one_out(get_setting(row.setting), *samples, removed, seed)
    for i, state in enumerate(states):
        on_cpu = {name: tensor.cpu() for name, tensor in state.items()}
        save_state(scratch / FILE.format(i), on_cpu)
    save_array(scratch / "removed.npy", removed)
    full = np.ones(n, dtype=bool)
    return [Model(seed, full), *(Model(seed, np.arange(n) != i) for i in removed)]
