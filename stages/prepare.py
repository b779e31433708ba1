"""Stage prepare: the samples of one problem, clean or with flipped labels."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from headwater.retraining import derive_seed, flip_labels
from headwater.settings import get_setting
from stages.files import atomic
from stages.runner import Row, run


class PrepareRow(Row):
    """Which samples; a noise above 0 flips labels and keeps no test samples."""

    setting: str
    model: str
    module: str
    dataset: str
    n_train: int
    n_test: int
    noise: float
    seed: int


def main(row: PrepareRow, data: Path, out: Path) -> None:
    """Cut a data set to its first samples and flip labels where the problem says so."""
    samples = get_setting(row.setting).load_data(data)
    for split, wanted, found in (
        ("training", row.n_train, len(samples.train_labels)),
        ("test", row.n_test, len(samples.test_labels)),
    ):
        if wanted > found:
            raise ValueError(f"{row.setting} has {found} {split} samples, got a request for {wanted}")
    tensors = {
        "train_inputs": samples.train_inputs[: row.n_train],
        "train_labels": samples.train_labels[: row.n_train],
        "test_inputs": samples.test_inputs[: row.n_test],
        "test_labels": samples.test_labels[: row.n_test],
    }
    if row.noise:
        classes = int(samples.train_labels.max()) + 1
        labels, flipped = flip_labels(
            tensors["train_labels"].numpy(), row.noise, classes, derive_seed(row.seed, "noise")
        )
        tensors["train_labels"] = torch.from_numpy(labels)
        tensors["flipped"] = torch.from_numpy(flipped)
    with atomic(out) as partial:
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial)


if __name__ == "__main__":
    run("prepare", PrepareRow, main, "data", "out")
