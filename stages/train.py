"""Stage train: an ensemble of models, and the checkpoints of the first one's run."""

from __future__ import annotations

from pathlib import Path

from headwater.progress import track
from headwater.retraining import Job, derive_seed, run_parameters, train_many
from stages.files import resumable, save_json
from stages.parameters import save_parameters
from stages.problem import load_split
from stages.runner import Row, run


class TrainRow(Row):
    """How many independent models, and how many checkpoints of the first run."""

    setting: str
    model: str
    module: str
    dataset: str
    ensemble: int
    trajectory: int
    seed: int


def main(row: TrainRow, data: Path, out: Path) -> None:
    """Train the models of a problem."""
    inputs, labels = load_split(data)
    with resumable(out, row, data) as scratch:
        jobs = [Job(i, derive_seed(row.seed, "train", i)) for i in range(row.ensemble)]
        files = {job.index: scratch / f"ensemble-{job.index:02d}.safetensors" for job in jobs}
        todo = [job for job in jobs if not files[job.index].exists()]
        models = train_many(row.setting, inputs, labels, todo)
        for job, outputs in track(models, "training", len(todo)):
            save_parameters(files[job.index], outputs)
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


if __name__ == "__main__":
    run("train", TrainRow, main, "data", "out")
