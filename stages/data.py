"""Stage data: the samples of a setting, and those of its problem with flipped labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from headwater.benchmark.retraining import flip_labels
from headwater.benchmark.settings import get_setting
from headwater.benchmark.training import derive_seed
from stages.params import Data
from stages.problem import save_state
from stages.row import At, Row


class DataRow(Row):
    """How many samples of each split."""

    setting: Annotated[str, At("settings.{setting}.setting")]
    seed: Annotated[int, At("seed")]
    data: Annotated[Data, At("settings.{setting}.data")]


def main(row: DataRow, setting: str, *, source: Path, out: Path) -> None:
    """Cut each split of a data set to its first samples, and flip labels for the noisy problem."""
    samples = get_setting(row.setting).load_data(source)
    train = samples.train_inputs, samples.train_labels
    save_state(out / "clean" / "train.safetensors", _first(row.data.n_train, *train, "training"))
    tests = _first(row.data.n_test, samples.test_inputs, samples.test_labels, "test")
    save_state(out / "clean" / "test.safetensors", tests)
    noisy = _first(row.data.noisy.n_train, *train, "training")
    classes, seed = int(samples.train_labels.max()) + 1, derive_seed(row.seed, "noise")
    labels, flipped = flip_labels(noisy["labels"].numpy(), row.data.noisy.fraction, classes, seed)
    noisy |= {"labels": torch.from_numpy(labels), "flipped": torch.from_numpy(flipped)}
    save_state(out / "noisy" / "train.safetensors", noisy)


def _first(n: int, inputs: Tensor, labels: Tensor, what: str) -> dict[str, Tensor]:
    if n > len(labels):
        raise ValueError(f"the data set has {len(labels)} {what} samples, got n = {n}; use fewer")
    return {"inputs": inputs[:n], "labels": labels[:n]}
