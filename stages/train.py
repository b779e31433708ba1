"""Stage train: an ensemble of models, models on random halves, and the checkpoints of one run."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from headwater.progress import track
from headwater.retraining import Job, derive_seed, draw_subsets, run_parameters, train_many
from stages.files import resumable, save_json
from stages.parameters import save_parameters
from stages.problem import load_split
from stages.runner import Row, run


class TrainRow(Row):
    """How many models on all samples, how many on halves, and how many checkpoints of the first run."""

    setting: str
    model: str
    module: str
    dataset: str
    ensemble: int
    halves: int
    trajectory: int
    seed: int


def main(row: TrainRow, data: Path, out: Path) -> None:
    """Train the models of a problem."""
    inputs, labels = load_split(data)
    with resumable(out, row, data) as scratch:
        jobs = [Job(i, derive_seed(row.seed, "train", i)) for i in range(row.ensemble)]
        _train(row, inputs, labels, jobs, scratch, "ensemble")
        if row.halves:
            halves = draw_subsets(len(labels), 0.5, row.halves, derive_seed(row.seed, "halves"))
            members = [
                Job(i, derive_seed(row.seed, "train-half", i), half)
                for i, half in enumerate(halves)
            ]
            _train(row, inputs, labels, members, scratch, "halves")
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
    row: TrainRow, inputs: Tensor, labels: Tensor, jobs: list[Job], scratch: Path, kind: str
) -> None:
    """Train what is not there yet."""
    files = {job.index: scratch / f"{kind}-{job.index:02d}.safetensors" for job in jobs}
    todo = [job for job in jobs if not files[job.index].exists()]
    models = train_many(row.setting, inputs, labels, todo)
    for job, outputs in track(models, f"training ({kind})", len(todo)):
        save_parameters(files[job.index], outputs)


if __name__ == "__main__":
    run("train", TrainRow, main, "data", "out")
