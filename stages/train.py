"""Stage train: an ensemble of models, and the checkpoints of the first one's run."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from headwater.progress import track
from headwater.retraining import Job, Outputs, Trained, derive_seed, train_many
from headwater.settings.setting import Samples, Setting
from stages.files import atomic, resumable, save_json
from stages.problem import load_samples
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


def parameters_of(setting: Setting, samples: Samples, trained: Trained) -> Outputs:
    """Return final parameters, checkpoints, their learning rates, and the test accuracy."""
    found = {f"final/{name}": t.numpy() for name, t in trained.model_state.items()}
    for i, checkpoint in enumerate(trained.checkpoints):
        for name, t in checkpoint.state.items():
            found[f"{i:02d}/{name}"] = t.numpy()
        found[f"rate/{i:02d}"] = torch.tensor(
            [checkpoint.epoch, checkpoint.learning_rate], dtype=torch.float64
        ).numpy()
    model = setting.make_model().eval()
    model.load_state_dict(trained.model_state)
    with torch.no_grad():
        predicted = model(samples.test_inputs).argmax(1)
    found["accuracy"] = (predicted == samples.test_labels).double().mean().numpy()
    return found


def main(row: TrainRow, data: Path, out: Path) -> None:
    """Train the models of a problem."""
    samples = load_samples(data)
    record: dict[str, object] = {"setting": row.setting, "seed": row.seed}
    with resumable(out, row, data) as scratch:
        jobs = [Job(i, derive_seed(row.seed, "train", i)) for i in range(row.ensemble)]
        todo = [job for job in jobs if not (scratch / f"ensemble-{job.index:02d}.json").exists()]
        for job, outputs in track(
            train_many(row.setting, samples, todo, finish=parameters_of), "training", len(todo)
        ):
            save_state(scratch / f"ensemble-{job.index:02d}.safetensors", outputs, "final/")
            accuracy = float(outputs["accuracy"])
            save_json(scratch / f"ensemble-{job.index:02d}.json", {"test_accuracy": accuracy})
        run_of_first = train_many(
            row.setting, samples, jobs[:1], finish=parameters_of, checkpoint_count=row.trajectory
        )
        for _, outputs in run_of_first if row.trajectory else ():
            rates = [outputs[f"rate/{i:02d}"] for i in range(row.trajectory)]
            record["trajectory"] = [
                {"epoch": int(epoch), "learning_rate": float(rate)} for epoch, rate in rates
            ]
            for i in range(row.trajectory):
                save_state(scratch / f"trajectory-{i:02d}.safetensors", outputs, f"{i:02d}/")
        save_json(scratch / "record.json", record)


def save_state(path: Path, outputs: Outputs, prefix: str) -> None:
    """Write the state dict whose arrays have a prefix."""
    state = {
        name.removeprefix(prefix): torch.from_numpy(array.copy())
        for name, array in sorted(outputs.items())
        if name.startswith(prefix)
    }
    with atomic(path) as partial:
        save_file(state, partial)


if __name__ == "__main__":
    run("train", TrainRow, main, "data", "out")
