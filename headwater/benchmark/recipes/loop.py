"""What a training loop of one's own has to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["END", "Checkpoint", "TrainingRun"]

END = -1
"""Among epochs: the last one of a run, whichever it is."""


@dataclass(frozen=True)
class Checkpoint:
    """A state of the model during training.

    Args:
        epoch: epochs done, counted from 1.
        learning_rate: in force at that time.
        state: state dict, which training does not change any more.
        loss: mean training loss over the batches of the epoch; NaN: not known.
    """

    epoch: int
    learning_rate: float
    state: dict[str, Tensor]
    loss: float = float("nan")


class TrainingRun(Protocol):
    """A training run that follows from its seed and its samples alone.

    A generator function is one:

        def train(inputs, labels, seed, subset):
            torch.manual_seed(seed)
            model, rows = Net(), subset.nonzero()[:, 0]
            optimizer = torch.optim.Adam(model.parameters())
            for epoch in range(1, 11):
                for batch in rows[torch.randperm(len(rows))].split(32):
                    optimizer.zero_grad()
                    F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
                    optimizer.step()
                yield Checkpoint(epoch, 1e-3, {k: v.clone() for k, v in model.state_dict().items()})
    """

    def __call__(
        self, inputs: Tensor, labels: Tensor, seed: int, subset: Tensor
    ) -> Iterator[Checkpoint]:
        """Train from the start, and yield a checkpoint after each epoch.

        Args:
            inputs: (n, ...), all samples, on the device to train on.
            labels: (n, ...).
            seed: everything random follows from it.
            subset: bool (n,), the samples to train on.
        """
