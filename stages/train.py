"""Stage train: the models for attribution, each after the epochs that are asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from headwater.benchmark.recipes import END
from headwater.benchmark.retraining import Job, train_many
from headwater.benchmark.settings import get_setting
from headwater.benchmark.training import derive_seed
from headwater.benchmark.training.training import check_epochs
from headwater.progress import track
from stages.device import resolve_device
from stages.files import load_json, resumable, save_json
from stages.params import Device, Train
from stages.problem import load_split, save_state
from stages.row import At, Row


class TrainRow(Row):
    """The families of checkpoints."""

    seed: Annotated[int, At("seed")]
    setting: Annotated[str, At("settings.{setting}.setting")]
    train: Annotated[Train, At("settings.{setting}.train")]
    device: Annotated[Device, At("settings.{setting}.device")]


def main(row: TrainRow, setting: str, *, data: Path, out: Path) -> None:
    """Train each run until the last epoch that is asked of it, and record whose checkpoints are where."""
    inputs, labels = load_split(data, resolve_device(row.device))
    seeds = [
        derive_seed(row.seed, "train", i) for i in range(max(f.runs for f in row.train.values()))
    ]
    jobs = [Job(i, seed, epochs=_epochs(row, i)) for i, seed in enumerate(seeds)]
    with resumable(out, row, data) as scratch:
        todo = [job for job in jobs if not (scratch / _folder(job.index) / "run.json").exists()]
        models = train_many(row.setting, inputs, labels, todo)
        for job, checkpoints in track(models, "training", len(todo)):
            folder, run = scratch / _folder(job.index), []
            for checkpoint in checkpoints:
                name = f"epoch-{checkpoint.epoch:03d}.safetensors"
                save_state(folder / name, checkpoint.state)
                rate, loss = checkpoint.learning_rate, checkpoint.loss
                run.append({"epoch": checkpoint.epoch, "learning_rate": rate, "loss": loss,
                            "file": f"{folder.name}/{name}"})  # fmt: skip
            save_json(folder / "run.json", run)
        runs = [load_json(scratch / _folder(job.index) / "run.json") for job in jobs]
        families = {name: _checkpoints(row, name, runs) for name in row.train}
        record = {"setting": row.setting, "seeds": seeds, "families": families}
        save_json(scratch / "record.json", record)


def _epochs(row: TrainRow, run: int) -> tuple[int, ...]:
    """Return the epochs that any family asks of a run."""
    asked = [check_epochs(get_setting(row.setting), family.epochs) for family in row.train.values()]
    runs = [family.runs for family in row.train.values()]
    found = {e for epochs, count in zip(asked, runs, strict=True) if run < count for e in epochs}
    return tuple(sorted(found, key=lambda epoch: (epoch == END, epoch)))


def _folder(run: int) -> str:
    return f"run-{run:02d}"


def _checkpoints(row: TrainRow, family: str, runs: list[Any]) -> list[dict[str, Any]]:
    """Return a family's checkpoints: all of the first run, then of the next."""
    wanted = check_epochs(get_setting(row.setting), row.train[family].epochs)
    return [
        {"run": i} | next(c for c in reversed(run) if epoch in (c["epoch"], END))
        for i, run in enumerate(runs[: row.train[family].runs])
        for epoch in wanted
    ]
