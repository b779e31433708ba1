"""The steps of a training run, for methods that follow it back from its end to its start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from headwater.checkpoints import Checkpoint, load_checkpoint
from headwater.checks import check_positive
from headwater.task import BoundModel

__all__ = ["Step", "TrainingRun", "model_at"]


@dataclass(frozen=True)
class Step:
    """One step of gradient descent: θ ← θ - η ((1/|B|) Σ_{i∈B} ∇ℓ_i(θ) + wd θ).

    With momentum β, of which one gradient moves the parameters by η(1 + β + β² + …) in the end, the
    step has η/(1-β).

    Args:
        parameters: θ before the step: a state dict, a path, or a callable that returns a state dict.
        learning_rate: η > 0.
        rows: B, the places of its samples in the training data, int64 (b,); None: all samples.
        weight_decay: wd ≥ 0.

    Raises:
        ValueError: if the rate is not positive, the decay is negative, or there are no samples.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> Step(model.state_dict(), learning_rate=0.1, rows=torch.tensor([3, 5])).weight_decay
        0.0
    """

    parameters: Checkpoint
    learning_rate: float
    rows: Tensor | None = None
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_positive("learning_rate", self.learning_rate)
        check_positive("weight_decay", self.weight_decay, allow_zero=True)
        rows = self.rows
        if rows is not None and (rows.ndim != 1 or len(rows) == 0 or rows.is_floating_point()):
            raise ValueError(
                f"rows must be the places of at least one sample, int64 (b,), got {rows.dtype} of "
                f"shape {tuple(rows.shape)}; pass None for all samples"
            )


class TrainingRun(Protocol):
    """A finished training run that gives its steps back, the last first.

    A list of `Step` is one; so is any object of a user's own loop whose ``__reversed__`` yields
    them one at a time, which needs no memory for all of them: `headwater.benchmark.training.Replay`
    trains once more from a seed.
    """

    def __reversed__(self) -> Iterator[Step]:
        """Yield the steps from the last to the first, each with the parameters before it."""


def model_at(model: BoundModel, checkpoint: Checkpoint) -> BoundModel:
    """Return the same model, with the same parameters selected, at another checkpoint.

    Args:
        model: the model at any checkpoint.
        checkpoint: a state dict, a path, or a callable that returns a state dict.

    Returns:
        The model at that checkpoint, on the same device.

    Raises:
        ValueError: if keys or shapes differ from the model's.

    Example:
        >>> import torch
        >>> from headwater import AttributionTask, targets
        >>> task = AttributionTask(torch.nn.Linear(2, 3), targets.cross_entropy)
        >>> zero = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}
        >>> float(model_at(task.bind(), zero).parameters["weight"].sum())
        0.0
    """
    state = load_checkpoint(checkpoint, model.module)

    def pick(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        # Tied parameters have several keys; buffers that no checkpoint holds stay as they are.
        return {name: state.get(name, t).to(t.device) for name, t in tensors.items()}

    return replace(model, parameters=pick(model.parameters), rest=pick(model.rest))
