"""The problem all measurements share: mnist-mlp, trained for a few epochs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from headwater import AttributionTask
from headwater.retraining import train_model
from headwater.settings import get_setting
from headwater.settings.setting import Samples

__all__ = ["DATA", "SETTING", "make_task", "save_problem", "train"]

DATA = Path(__file__).resolve().parents[1] / "data"
SETTING = get_setting("mnist-mlp")
EPOCHS = 5
SEED = 0


def train(n_train: int, n_test: int, epochs: int = EPOCHS) -> tuple[Samples, dict[str, Tensor]]:
    """Return the first samples of mnist-mlp, and a model trained on them."""
    samples = SETTING.load_data(DATA)
    samples = Samples(*(t[:n_train] for t in samples[:2]), *(t[:n_test] for t in samples[2:]))
    short = dataclasses.replace(SETTING, recipe=dataclasses.replace(SETTING.recipe, epochs=epochs))
    trained = train_model(short, samples.train_inputs, samples.train_labels, SEED)
    return samples, trained.model_state


def make_task(state: dict[str, Tensor] | None = None) -> AttributionTask:
    """Return the task of explaining the loss of the test samples; default: an untrained model."""
    with torch.random.fork_rng(devices=[]):
        model = SETTING.make_model()
    return AttributionTask(model, loss=SETTING.loss, checkpoints=state)


def save_problem(folder: Path, n_train: int, n_test: int) -> None:
    """Write the samples as .npy and the model as safetensors, for both sides of a comparison."""
    samples, state = train(n_train, n_test)
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in samples._asdict().items():
        np.save(folder / f"{name}.npy", tensor.numpy())
    save_file(state, folder / "model.safetensors")
