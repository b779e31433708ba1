"""The problems that measurements share, each trained for a few epochs."""

from __future__ import annotations

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import SGD

from benchmarks.nets import NETS, ConvNet, Gpt, attributed_layers
from benchmarks.shakespeare import load_sequences
from headwater import AttributionTask
from headwater.benchmark.datasets.mnist import load_samples
from headwater.benchmark.datasets.samples import Samples
from headwater.benchmark.recipes import Checkpoint, Recipe
from headwater.benchmark.settings import get_setting
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training import train_model
from headwater.targets import cross_entropy

__all__ = ["CHECKPOINTS", "DATA", "SETTING", "SETTINGS", "make_task", "save_problem", "train"]

DATA = Path(__file__).resolve().parents[1] / "data"
EPOCHS = CHECKPOINTS = 10
"""Of the one run, for TracInCP; the last is the model that everything else explains."""
MOMENTUM = partial(SGD, momentum=0.9)
SUBSETS = 50
REMOVED = 500
SEED = 0


def _load_images(data: Path) -> Samples:
    samples = load_samples(data)
    train, test = (t.unflatten(1, (1, 28, 28)) for t in (samples[0], samples[2]))
    return samples._replace(train_inputs=train, test_inputs=test)


def _brief(setting: Setting) -> Setting:
    return dataclasses.replace(setting, recipe=dataclasses.replace(setting.recipe, epochs=EPOCHS))


SETTING = _brief(get_setting("mnist-mlp"))
SETTINGS: dict[str, Setting] = {
    "mnist-mlp": SETTING,
    "conv": Setting(
        "conv", ConvNet, _load_images, cross_entropy, {}, Recipe(0.02, 32, EPOCHS, MOMENTUM)
    ),
    "gpt": Setting(  # its loss is a sum over 64 characters
        "gpt", Gpt, load_sequences, cross_entropy, {}, Recipe(0.002, 16, EPOCHS, MOMENTUM)
    ),
}
"""How each problem of `benchmarks/methods.py` is made; its samples are the first of those here."""


def train(n_train: int, n_test: int) -> tuple[Samples, dict[str, Tensor]]:
    """Return the first samples of mnist-mlp, and a model trained on them."""
    samples, checkpoints = _train(SETTING, n_train, n_test)
    return samples, checkpoints[-1].state


def make_task(state: dict[str, Tensor] | None = None) -> AttributionTask:
    """Return the task of explaining mnist-mlp's loss of test samples; default: an untrained model."""
    with torch.random.fork_rng(devices=[]):
        model = SETTING.make_model()
    return AttributionTask(model, loss=SETTING.loss, checkpoints=state)


def save_problem(folder: Path, name: str, n_train: int, n_test: int) -> None:
    """Write what all sides of a comparison read, as .npy, safetensors and problem.json.

    The samples, the model, the checkpoints of its run; and for the metrics, which look at no model,
    random scores with a ground truth of the same sizes.
    """
    samples, checkpoints = _train(SETTINGS[name], n_train, n_test)
    folder.mkdir(parents=True, exist_ok=True)
    for part, tensor in samples._asdict().items():
        np.save(folder / f"{part}.npy", tensor.numpy())
    save_file(checkpoints[-1].state, folder / "model.safetensors")
    for index, checkpoint in enumerate(checkpoints):
        save_file(checkpoint.state, folder / f"checkpoint{index}.safetensors")
    rates = [checkpoint.learning_rate for checkpoint in checkpoints]
    np.save(folder / "learning_rates.npy", np.array(rates))
    _save_metric_inputs(folder, n_train, n_test)
    (folder / "problem.json").write_text(json.dumps({"net": name, **_sizes(name)}))


def _train(setting: Setting, n_train: int, n_test: int) -> tuple[Samples, list[Checkpoint]]:
    samples = setting.load_data(DATA)
    samples = Samples(*(t[:n_train] for t in samples[:2]), *(t[:n_test] for t in samples[2:]))
    inputs, labels = samples.train_inputs, samples.train_labels
    return samples, train_model(setting, inputs, labels, SEED, epochs=range(1, EPOCHS + 1))


def _sizes(name: str) -> dict[str, int]:
    """Return how many parameters the net has, and how many of them scores are of."""
    with torch.device("meta"):
        model = NETS[name]()
    layers = map(model.get_submodule, attributed_layers(model))
    attributed = sum(p.numel() for layer in layers for p in layer.parameters())
    return {"parameters": sum(p.numel() for p in model.parameters()), "attributed": attributed}


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


if __name__ == "__main__":  # a process of its own: that of the measurements imports no torch
    save_problem(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
