"""One side of the Grad-Dot comparison, in a process of its own: read, attribute, write.

python -m benchmarks.grad_dot SIDE PROBLEM_FOLDER OUTPUT_FOLDER THREADS

Both sides read the same arrays and build the same loaders. Imports, reading and writing are not
timed. Nothing of `headwater` is imported for the peer, whose environment does not have it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import MB, peak_memory, save_record, timed

__all__ = ["SIDES"]

BATCH = 500
"""Samples a batch on both sides, as in dattri's own experiment script."""

Attribute = Callable[[DataLoader[Any], DataLoader[Any]], Tensor]
State = dict[str, Tensor]


def headwater(state: State) -> Attribute:
    """Exact Grad-Dot, as in the README."""
    from benchmarks.problem import make_task  # noqa: PLC0415 - not in the peer's environment
    from headwater.attributors import GradDot  # noqa: PLC0415

    def attribute(train: DataLoader[Any], test: DataLoader[Any]) -> Tensor:
        return GradDot(make_task(state)).cache(train).attribute(train, test)

    return attribute


def dattri(state: State, projector: dict[str, str] | None) -> Attribute:
    """Grad-Dot as in dattri's experiments/benchmark_result.py, with weight 1 in place of 1e-3.

    Args:
        state: the model's parameters.
        projector: arguments for dattri's projector; None for its defaults.
    """
    tracin = importlib.import_module("dattri.algorithm.tracin")  # only in its environment
    task_module = importlib.import_module("dattri.task")

    def attribute(train: DataLoader[Any], test: DataLoader[Any]) -> Tensor:
        model = _Mlp()

        def loss(params: State, pair: tuple[Tensor, Tensor]) -> Tensor:
            image, label = pair
            logits = torch.func.functional_call(model, params, image.unsqueeze(0))
            return nn.CrossEntropyLoss()(logits, label.unsqueeze(0).long())

        task = task_module.AttributionTask(model=model, loss_func=loss, checkpoints=state)
        weights = torch.ones(1)
        attributor = tracin.TracInAttributor(task, weights, False, projector_kwargs=projector)
        attributor.cache()
        with torch.no_grad():
            return attributor.attribute(train, test)

    return attribute


class _Mlp(nn.Module):
    """The model of mnist-mlp with its parameter names, in plain PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.layers(inputs)
        return logits


SIDES: dict[str, Callable[[State], Attribute]] = {
    "headwater": headwater,
    "dattri-exact": lambda state: dattri(state, {"proj_type": "identity"}),
    "dattri-default": lambda state: dattri(state, None),
}
"""Each builds the function that is timed; making it imports what it needs."""


def main(side: str, problem: Path, output: Path, threads: int) -> None:
    """Write scores.npy and record.json into the output folder."""
    torch.set_num_threads(threads)
    attribute = SIDES[side](load_file(problem / "model.safetensors"))
    loaders = [_loader(problem, split) for split in ("train", "test")]
    _import_the_rest()
    before = peak_memory()
    seconds, scores = timed(lambda: attribute(*loaders))
    after = peak_memory()
    output.mkdir(parents=True, exist_ok=True)
    np.save(output / "scores.npy", scores.numpy())
    record = {"seconds": seconds, "peak_mb": after / MB, "peak_mb_before": before / MB}
    save_record(output / "record.json", record)


def _import_the_rest() -> None:
    """Let torch import what it puts off until per-sample gradients are first asked for."""
    torch.func.vmap(torch.func.grad(torch.sin))(torch.ones(2))


def _loader(problem: Path, split: str) -> DataLoader[Any]:
    arrays = (np.load(problem / f"{split}_{part}.npy") for part in ("inputs", "labels"))
    return DataLoader(TensorDataset(*map(torch.from_numpy, arrays)), batch_size=BATCH)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
