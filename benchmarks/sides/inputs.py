"""What every side reads: the same net, samples and loaders; nothing of headwater."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.nets import NETS, attributed_layers
from benchmarks.sides.hyperparameters import BATCH

__all__ = ["Inputs", "State", "read_inputs"]

State = dict[str, Tensor]


@dataclass(frozen=True)
class Inputs:
    """One problem, read into memory.

    Args:
        folder: where it lies; metrics' inputs are read from it by name.
        net: name of the model in `NETS`.
        train_set: inputs and int64 labels, one per sample or one per position.
        test_set: the same of the test samples.
        state: the model's parameters.
    """

    folder: Path
    net: str
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

    @cached_property
    def layers(self) -> list[str]:
        """Names of the layers whose parameters scores are of: those that every side can serve."""
        return attributed_layers(self.make_model())

    @cached_property
    def parameters(self) -> list[str]:
        """Names of the parameters in these layers, in the model's order."""
        names = (name for name, _ in self.make_model().named_parameters())
        return [name for name in names if name.rpartition(".")[0] in self.layers]

    def make_model(self) -> nn.Module:
        """Return the model before its training."""
        return NETS[self.net]()

    def model(self) -> nn.Module:
        """Return the trained model, in evaluation mode."""
        model = self.make_model()
        model.load_state_dict(self.state)
        return model.eval()

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
    net = json.loads((folder / "problem.json").read_text())["net"]
    return Inputs(folder, net, sets[0], sets[1], load_file(folder / "model.safetensors"))
