"""The problem all measurements share: mnist-mlp, trained for a few epochs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from headwater import AttributionTask
from headwater.benchmark.retraining import train_model
from headwater.benchmark.retraining.training import Trained
from headwater.benchmark.settings import get_setting
from headwater.benchmark.settings.setting import Samples

__all__ = ["CHECKPOINTS", "DATA", "SETTING", "make_task", "save_problem", "train"]

DATA = Path(__file__).resolve().parents[1] / "data"
SETTING = get_setting("mnist-mlp")
EPOCHS = 10
CHECKPOINTS = 10
"""Of the one run, for TracInCP; the last is the model that everything else explains."""
SUBSETS = 50
REMOVED = 500
SEED = 0


def train(n_train: int, n_test: int) -> tuple[Samples, dict[str, Tensor]]:
    """Return the first samples of mnist-mlp, and a model trained on them."""
    samples, trained = _train(n_train, n_test)
    return samples, trained.model_state


def make_task(state: dict[str, Tensor] | None = None) -> AttributionTask:
    """Return the task of explaining the loss of the test samples; default: an untrained model."""
    with torch.random.fork_rng(devices=[]):
        model = SETTING.make_model()
    return AttributionTask(model, loss=SETTING.loss, checkpoints=state)


def save_problem(folder: Path, n_train: int, n_test: int) -> None:
    """Write what both sides of a comparison read, as .npy and safetensors.

    The samples, the model, the checkpoints of its run; and for the metrics, which look at no model,
    random scores with a ground truth of the same sizes.
    """
    samples, trained = _train(n_train, n_test)
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in samples._asdict().items():
        np.save(folder / f"{name}.npy", tensor.numpy())
    save_file(trained.model_state, folder / "model.safetensors")
    for index, checkpoint in enumerate(trained.checkpoints):
        save_file(checkpoint.state, folder / f"checkpoint{index}.safetensors")
    rates = [checkpoint.learning_rate for checkpoint in trained.checkpoints]
    np.save(folder / "learning_rates.npy", np.array(rates))
    _save_metric_inputs(folder, n_train, n_test)


def _train(n_train: int, n_test: int) -> tuple[Samples, Trained]:
    samples = SETTING.load_data(DATA)
    samples = Samples(*(t[:n_train] for t in samples[:2]), *(t[:n_test] for t in samples[2:]))
    short = dataclasses.replace(SETTING, recipe=dataclasses.replace(SETTING.recipe, epochs=EPOCHS))
    inputs, labels = samples.train_inputs, samples.train_labels
    return samples, train_model(short, inputs, labels, SEED, checkpoint_count=CHECKPOINTS)


def _save_metric_inputs(folder: Path, n: int, m: int) -> None:
    rng = np.random.default_rng(SEED)
    subsets = np.stack([rng.permutation(n)[: n // 2] for _ in range(SUBSETS)])
    removed = rng.permutation(n)[: min(REMOVED, n)]
    arrays = {
        "scores": rng.standard_normal((n, m), dtype=np.float32),
        "subset_outputs": rng.standard_normal((SUBSETS, m), dtype=np.float32),
        "subset_indices": np.sort(subsets, axis=1),
        "self_influence": rng.standard_normal(n, dtype=np.float32),
        "flipped": rng.random(n) < 0.1,
        "removed": np.sort(removed),
        "outputs_without": rng.standard_normal((len(removed), m), dtype=np.float32),
        "outputs_full": rng.standard_normal(m, dtype=np.float32),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
