"""Stage gradients: one store of per-sample gradients of one split, for every checkpoint."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

from headwater.gradients import GradientCapture, Gradients, StoreDescription, write_gradients
from headwater.projections import GradientProjection
from stages.contract import Clock
from stages.device import resolve_device
from stages.files import resumable, save_json
from stages.params import Device, Infeasible, Store, over_budget
from stages.problem import checkpoint_files, file_hash, load_split, training_record
from stages.row import At, Row
from stages.task import make_projection, make_task


class GradientsRow(Row):
    """What is differentiated, where, and how it is kept."""

    store: Annotated[Store, At("stores.{key}")]
    device: Annotated[Device, At("settings.{setting}.device")]


def main(
    row: GradientsRow,
    setting: str,
    key: str,
    *,
    code: Path,
    data: Path,
    models: Path,
    out: Path,
    cost: Path,
) -> None:
    """Write the gradients of a function at all samples of a split, one store per checkpoint."""
    clock, over = Clock(), over_budget(code)
    with resumable(out, row, data, models, note=over) as scratch:
        try:
            row.store.check_feasible(setting, over)
        except Infeasible as left_out:
            save_json(scratch / "store.json", left_out.record())
        else:
            with clock.part("gradients"):
                _write(row, key, data, models, scratch)
    clock.save(cost)


def _write(row: GradientsRow, key: str, data: Path, models: Path, scratch: Path) -> None:
    """Write the stores, and what they hold."""
    store, record = row.store, training_record(models)
    available = len(record["families"].get(store.checkpoints, ()))
    files = checkpoint_files(models, store.checkpoints, min(store.models or available, available))
    device = resolve_device(row.device)
    task = make_task(record["setting"], store.function, files, store.masks, device)
    inputs, labels = load_split(data, device)
    projection = make_projection(store, f"stores.{key}")
    for index in range(len(task.checkpoints)):
        model, mask = divmod(index, store.masks)
        write_gradients(
            scratch / f"{index:02d}",
            _describe(store, data, record["setting"], files[model], mask),
            GradientCapture(task.bind(index), task.target),
            lambda rows: (inputs[rows], labels[rows]),
            len(labels),
            partial(_represent, store, projection, index),
            store.block,
        )
    kept = store.model_dump(include={"function", "form", "checkpoints", "masks"})
    save_json(scratch / "store.json", {**kept, "count": len(task.checkpoints), "n": len(labels)})


def _describe(store: Store, data: Path, setting: str, model: Path, mask: int) -> StoreDescription:
    """Return what the store of one checkpoint, or of one sub-network of it, holds."""
    projection = "" if store.projection is None else json.dumps(store.projection, sort_keys=True)
    checkpoint = file_hash(model) + (f", mask {mask} of {store.masks}" if store.masks > 1 else "")
    problem, split = f"{setting}, {data.parent.name}", data.stem
    return StoreDescription(
        problem, split, store.function, checkpoint, store.form, store.dtype, projection
    )


def _represent(
    store: Store, projection: GradientProjection | None, checkpoint: int, gradients: Gradients
) -> Gradients:
    """Return the gradients in the form that the store keeps."""
    if projection is not None:
        return gradients.project(projection.for_checkpoint(checkpoint))
    if store.form == "dense":
        return Gradients.of_vectors(gradients.dense(), gradients.values)
    return gradients
