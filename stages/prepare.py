"""Stage prepare: the samples of one problem, clean or with flipped labels."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from headwater.retraining import derive_seed, flip_labels
from headwater.settings import get_setting
from stages.files import atomic
from stages.runner import Row, run


class PrepareRow(Row):
    """Which samples of one split; a noise above 0 flips labels."""

    setting: str
    model: str
    module: str
    dataset: str
    problem: str
    split: str
    n: int
    noise: float
    seed: int


def main(row: PrepareRow, data: Path, out: Path) -> None:
    """Cut a split of a data set to its first samples; flip labels where the problem says so."""
    samples = get_setting(row.setting).load_data(data)
    inputs: Tensor = getattr(samples, f"{row.split}_inputs")
    labels: Tensor = getattr(samples, f"{row.split}_labels")
    if row.n > len(labels):
        raise ValueError(f"{row.setting} has {len(labels)} {row.split} samples, got n = {row.n}")
    tensors = {"inputs": inputs[: row.n], "labels": labels[: row.n]}
    if row.noise:
        noisy, flipped = flip_labels(
            tensors["labels"].numpy(),
            row.noise,
            int(labels.max()) + 1,
            derive_seed(row.seed, "noise"),
        )
        tensors["labels"] = torch.from_numpy(noisy)
        tensors["flipped"] = torch.from_numpy(flipped)
    with atomic(out) as partial:
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial)


if __name__ == "__main__":
    run("prepare", PrepareRow, main, "data", "out")
