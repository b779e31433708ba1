"""Stage train: an ensemble of models, models that stopped early, and the checkpoints of one run."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from headwater.progress import track
from headwater.retraining import Job, derive_seed, run_parameters, train_many
from stages.files import resumable, save_json
from stages.parameters import save_parameters
from stages.problem import load_split
from stages.runner import Row, run


class TrainRow(Row):
    """How many models, how many that stop early and when, and how many checkpoints of the first run."""

    setting: str
    model: str
    module: str
    dataset: str
    ensemble: int
    early: int
    early_epochs: int
    trajectory: int
    seed: int


def main(row: TrainRow, data: Path, out: Path) -> None:
    """Train the models of a problem."""
    inputs, labels = load_split(data)
    with resumable(out, row, data) as scratch:
        jobs = [Job(i, derive_seed(row.seed, "train", i)) for i in range(row.ensemble)]
        _train(row, inputs, labels, jobs, scratch, "ensemble")
        if row.early:  # the first are those of the ensemble, stopped on their way
            jobs = [Job(i, derive_seed(row.seed, "train", i)) for i in range(row.early)]
            _train(row, inputs, labels, jobs, scratch, "early", row.early_epochs)
        record = []
        if row.trajectory:
            ((_, outputs),) = train_many(
                row.setting,
                inputs,
                labels,
                jobs[:1],
                finish=run_parameters,
                checkpoint_count=row.trajectory,
            )
            for i in range(row.trajectory):
                epoch, rate = outputs[f"rate/{i:02d}"]
                record.append({"epoch": int(epoch), "learning_rate": float(rate)})
                save_parameters(scratch / f"trajectory-{i:02d}.safetensors", outputs, f"{i:02d}/")
        save_json(scratch / "record.json", {"setting": row.setting, "trajectory": record})


def _train(
    row: TrainRow,
    inputs: Tensor,
    labels: Tensor,
    jobs: list[Job],
    scratch: Path,
    kind: str,
    epochs: int | None = None,
) -> None:
    """Train what is not there yet."""
    files = {job.index: scratch / f"{kind}-{job.index:02d}.safetensors" for job in jobs}
    todo = [job for job in jobs if not files[job.index].exists()]
    models = train_many(row.setting, inputs, labels, todo, epochs=epochs)
    for job, outputs in track(models, f"training ({kind})", len(todo)):
        save_parameters(files[job.index], outputs)


if __name__ == "__main__":
    run("train", TrainRow, main, "data", "out")
