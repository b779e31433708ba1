"""Stage gradients: one store of per-sample gradients, for every checkpoint and split."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from torch import Tensor

from headwater.gradients import (
    DenseGradients,
    GradientCapture,
    Gradients,
    StoreDescription,
    write_gradients,
)
from stages.files import resumable
from stages.problem import checkpoint_files, file_hash, load_split
from stages.projection import make_projection
from stages.recipe import ProjectionRecipe
from stages.runner import Row, run
from stages.task import load_task


class GradientsRow(Row):
    """What is differentiated, where, and how it is kept."""

    setting: str
    model: str
    module: str
    dataset: str
    problem: str
    store: str
    function: str
    form: Literal["factored", "dense", "projected"]
    checkpoints: Literal["ensemble", "early", "trajectory"]
    count: int
    split: Literal["train", "test"]
    dtype: Literal["float32", "float16"]
    block: int | None
    masks: int
    priority: int
    projection: ProjectionRecipe | None


def main(row: GradientsRow, data: Path, models: Path, out: Path) -> None:
    """Write the gradients of a function at all samples of a split, one store a checkpoint."""
    inputs, labels = load_split(data)
    files = checkpoint_files(models, row.checkpoints, row.count)
    task = load_task(row.setting, row.function, files, row.masks)
    with resumable(out, row, data, models) as scratch:
        for index in range(len(task.checkpoints)):
            model, mask = divmod(index, row.masks)
            write_gradients(
                scratch / f"{index:02d}",
                describe(row, files[model], mask),
                GradientCapture(task.bind(index), task.target),
                partial(rows_of, inputs, labels),
                len(labels),
                partial(represent, row, index),
                row.block,
            )


def describe(row: GradientsRow, checkpoint: Path, mask: int) -> StoreDescription:
    """Return what the store of one checkpoint, or of one sub-network of it, holds."""
    of = file_hash(checkpoint)
    return StoreDescription(
        setting=row.problem,
        split=row.split,
        function=row.function,
        checkpoint=of if row.masks == 1 else f"{of}, mask {mask} of {row.masks}",
        representation=row.form,
        dtype=row.dtype,
        projection=""
        if row.projection is None
        else row.projection.model_dump_json(exclude_none=True),
    )


def rows_of(inputs: Tensor, labels: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
    """Return the samples of a range as one batch."""
    return inputs[rows], labels[rows]


def represent(row: GradientsRow, checkpoint: int, gradients: Gradients) -> Gradients:
    """Return the gradients in the form that the store keeps."""
    if row.form == "factored":
        return gradients
    projection = make_projection(row.projection)
    if projection is None:
        return DenseGradients(gradients.dense(), gradients.values)
    return gradients.project(projection.for_checkpoint(checkpoint))


if __name__ == "__main__":
    run("gradients", GradientsRow, main, "data", "models", "out")
