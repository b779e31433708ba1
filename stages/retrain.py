"""Stage retrain: models trained without some of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.retraining import Job, draw_subsets, leave_one_out, train_many
from headwater.benchmark.settings import get_setting
from headwater.benchmark.training import derive_seed
from headwater.progress import track
from stages.committed import take
from stages.device import resolve_device
from stages.files import resumable, save_array, save_json
from stages.manifest import Model, manifest_of, with_states
from stages.params import Device, Truth
from stages.problem import load_split, save_state
from stages.row import At, Row

Samples = tuple[Tensor, Tensor]


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
    committed: Path,
    out: Path,
) -> None:
    """Retrain a model many times, and keep all parameters; nothing where none is asked for.

    Where params.yaml says `committed`, take what such models say from there, without their parameters.
    """
    samples = load_split(data, resolve_device(row.device))
    subsets, n = key == "subsets", len(samples[1])
    array, models = draw_for_subsets(row, n) if subsets else draw_for_each(row, n)
    manifest = manifest_of(row.setting, data, models)
    with resumable(out, row, data) as scratch:
        if row.truth.committed and models:
            take(committed, key, manifest, row.truth.committed, scratch)
            return
        files = [scratch / f"model-{i:04d}.safetensors" for i in range(len(models))]
        if models:
            (retrain_on_subsets if subsets else retrain_without_each)(row, samples, models, files)
            save_array(scratch / ("masks.npy" if subsets else "removed.npy"), array)
        save_json(scratch / "manifest.json", with_states(manifest, files))


def draw_for_subsets(row: RetrainRow, n: int) -> tuple[NDArray[Any], list[Model]]:
    """Return the masks (n_subsets, n_train), and the models: the repeats of one subset, the next."""
    truth = row.truth
    masks = draw_subsets(n, truth.fraction, truth.subsets, derive_seed(row.seed, "subsets"))
    models = [
        Model(derive_seed(row.seed, "retrain", subset, repeat), mask)
        for subset, mask in enumerate(masks)
        for repeat in range(truth.repeats)
    ]
    return masks, models


def draw_for_each(row: RetrainRow, n: int) -> tuple[NDArray[Any], list[Model]]:
    """Return the removed samples (r,), and the models, the full one first; none if none is asked for."""
    rng = np.random.default_rng(derive_seed(row.seed, "leave-one-out"))
    removed = np.sort(rng.permutation(n)[: row.truth.leave_one_out])
    seed = derive_seed(row.seed, "leave-one-out", "training")
    left_out = [-1, *removed] if len(removed) else []
    return removed, [Model(seed, np.arange(n) != i) for i in left_out]


def retrain_on_subsets(
    row: RetrainRow, samples: Samples, models: Sequence[Model], files: Sequence[Path]
) -> None:
    """Write a file per model, those that are there excepted."""
    jobs = [Job(i, model.seed, model.subset) for i, model in enumerate(models)]
    todo = [job for job in jobs if not files[job.index].exists()]
    trained = train_many(row.setting, *samples, todo)
    for job, (checkpoint,) in track(trained, "retraining on subsets", len(todo)):
        save_state(files[job.index], checkpoint.state)


def retrain_without_each(
    row: RetrainRow, samples: Samples, models: Sequence[Model], files: Sequence[Path]
) -> None:
    """Write a file per model: they share all draws, so that they differ by one sample alone."""
    removed = [int(np.flatnonzero(~model.subset)[0]) for model in models[1:]]
    states = leave_one_out(get_setting(row.setting), *samples, removed, models[0].seed)
    for file, state in zip(files, states, strict=True):
        save_state(file, {name: tensor.cpu() for name, tensor in state.items()})
