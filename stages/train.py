"""Stage train: an ensemble of models, models that stopped early, and the checkpoints of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from torch import Tensor

from headwater.benchmark.retraining import Job, derive_seed, run_parameters, train_many
from headwater.progress import track
from stages.device import resolve_device
from stages.files import resumable, save_json
from stages.params import KINDS, Device, Kind, Train
from stages.problem import load_split, save_parameters
from stages.row import At, Row

Samples = tuple[Tensor, Tensor]


class TrainRow(Row):
    """How many models, how many that stop early and when, and how many checkpoints of the first run."""

    seed: Annotated[int, At("seed")]
    setting: Annotated[str, At("settings.{setting}.setting")]
    train: Annotated[Train, At("settings.{setting}.train")]
    device: Annotated[Device, At("settings.{setting}.device")]


def main(row: TrainRow, setting: str, *, data: Path, out: Path) -> None:
    """Train the models of a problem, and record their seeds and learning rates."""
    samples = load_split(data, resolve_device(row.device))
    early = row.train.early.models if row.train.early else 0
    seeds = [derive_seed(row.seed, "train", i) for i in range(max(row.train.ensemble, early, 1))]
    jobs = [Job(i, seed) for i, seed in enumerate(seeds)]
    with resumable(out, row, data) as scratch:
        _train(row, samples, jobs[: row.train.ensemble], scratch, "ensemble")
        # The first that stop early are those of the ensemble, on their way.
        _train(row, samples, jobs[:early], scratch, "early")
        record = {
            "setting": row.setting,
            "seeds": seeds,
            "checkpoints": {kind: row.train.count(kind) for kind in KINDS},
            "trajectory": _follow(row, samples, jobs[0], scratch),
        }
        save_json(scratch / "record.json", record)


def _train(row: TrainRow, samples: Samples, jobs: list[Job], scratch: Path, kind: Kind) -> None:
    """Train what is not there yet."""
    files = {job.index: scratch / f"{kind}-{job.index:02d}.safetensors" for job in jobs}
    todo = [job for job in jobs if not files[job.index].exists()]
    epochs = row.train.early.epochs if kind == "early" and row.train.early else None
    models = train_many(row.setting, *samples, todo, epochs=epochs)
    for job, outputs in track(models, f"training ({kind})", len(todo)):
        save_parameters(files[job.index], outputs)


def _follow(row: TrainRow, samples: Samples, job: Job, scratch: Path) -> list[dict[str, float]]:
    """Keep checkpoints along one run; return epoch and learning rate at each."""
    if not row.train.trajectory:
        return []
    ((_, outputs),) = train_many(
        row.setting, *samples, [job], finish=run_parameters, checkpoint_count=row.train.trajectory
    )
    record = []
    for i in range(row.train.trajectory):
        epoch, rate = outputs[f"rate/{i:02d}"]
        record.append({"epoch": int(epoch), "learning_rate": float(rate)})
        save_parameters(scratch / f"trajectory-{i:02d}.safetensors", outputs, f"{i:02d}/")
    return record
