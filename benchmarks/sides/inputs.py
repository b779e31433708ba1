"""What every side reads: the same samples, parameters and loaders; nothing of headwater."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.sides.hyperparameters import BATCH

__all__ = ["Inputs", "Mlp", "State", "read_inputs"]

State = dict[str, Tensor]


@dataclass(frozen=True)
class Inputs:
    """One problem, read into memory.

    Args:
        folder: where it lies; metrics' inputs are read from it by name.
        train_set: inputs and int64 labels.
        test_set: the same of the test samples.
        state: the model's parameters.
    """

    folder: Path
    train_set: TensorDataset
    test_set: TensorDataset
    state: State

    @property
    def train(self) -> DataLoader[Any]:
        """Training samples, 500 a batch."""
        return DataLoader(self.train_set, batch_size=BATCH)

    @property
    def train_at_once(self) -> DataLoader[Any]:
        """All training samples in one batch."""
        return DataLoader(self.train_set, batch_size=len(self.train_set))

    @property
    def test(self) -> DataLoader[Any]:
        """Test samples, 500 a batch."""
        return DataLoader(self.test_set, batch_size=BATCH)

    def checkpoints(self) -> list[State]:
        """Read the checkpoints of the training run."""
        count = len(self.array("learning_rates"))
        return [load_file(self.folder / f"checkpoint{index}.safetensors") for index in range(count)]

    def array(self, name: str) -> NDArray[Any]:
        """Read one of the metrics' inputs."""
        return np.load(self.folder / f"{name}.npy", allow_pickle=False)


def read_inputs(folder: Path) -> Inputs:
    """Read what `save_problem` wrote."""
    sets = []
    for split in ("train", "test"):
        arrays = (np.load(folder / f"{split}_{part}.npy") for part in ("inputs", "labels"))
        sets.append(TensorDataset(*map(torch.from_numpy, arrays)))
    return Inputs(folder, sets[0], sets[1], load_file(folder / "model.safetensors"))


class Mlp(nn.Module):
    """The model of mnist-mlp with its parameter names, in plain PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, 10)."""
        logits: Tensor = self.layers(inputs)
        return logits

    @classmethod
    def at(cls, state: State) -> Mlp:
        """Return the model with these parameters, in evaluation mode."""
        model = cls()
        model.load_state_dict(state)
        return model.eval()
