"""The hyper-parameters of a training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from headwater.benchmark.recipes.augmentation import Augment
from headwater.benchmark.recipes.schedules import Schedule, constant

__all__ = ["Recipe", "every", "matrices"]


def every(parameter: Tensor) -> bool:
    """Return True: all parameters decay."""
    return True


def matrices(parameter: Tensor) -> bool:
    """Return whether a parameter is a matrix or more: biases and the weights of norms do not decay."""
    return parameter.ndim >= 2


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: the optimizer, its learning rate over time, and what each step sees.

    Args:
        learning_rate: step size η > 0, which the schedule scales.
        batch_size: samples per step; the last batch of an epoch may be smaller.
        epochs: passes over the training samples.
        optimizer: a class of `torch.optim`, or a `functools.partial` of it with its other options.
        weight_decay: ≥ 0, as the optimizer understands it.
        decays: decays(parameter) -> whether weight decay applies to it.
        schedule: of the learning rate, step by step.
        clip: the largest norm of a step's gradient; None: any.
        augment: changes the inputs of each step.
        autocast: the dtype of mixed precision on a GPU; None: that of the inputs. CPUs ignore it.

    Raises:
        ValueError: if a value lies outside its range.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    optimizer: Callable[..., Optimizer] = SGD
    weight_decay: float = 0.0
    decays: Callable[[Tensor], bool] = every
    schedule: Schedule = constant
    clip: float | None = None
    augment: Augment | None = None
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        positive = {"learning_rate": 0, "batch_size": 1, "epochs": 1}
        wrong = [name for name, least in positive.items() if not getattr(self, name) >= least]
        wrong += ["learning_rate"] if self.learning_rate == 0 else []
        wrong += ["weight_decay"] if self.weight_decay < 0 else []
        wrong += ["clip"] if self.clip is not None and not self.clip > 0 else []
        if wrong:
            raise ValueError(
                "a recipe needs learning_rate > 0, batch_size >= 1, epochs >= 1, weight_decay >= 0, "
                f"clip > 0, got {wrong[0]} = {getattr(self, wrong[0])}; correct the value"
            )

    def make_optimizer(self, model: nn.Module, parameters: Mapping[str, Tensor]) -> Optimizer:
        """Return the optimizer of tensors that have the names of a model's parameters.

        Args:
            model: says which of them decay.
            parameters: what is optimized: its own parameters, or stacks of those of many models.
        """
        shapes = dict(model.named_parameters())
        groups = [
            {"params": [t for name, t in parameters.items() if self.decays(shapes[name]) == decay],
             "weight_decay": self.weight_decay * decay}
            for decay in (True, False)
        ]  # fmt: skip
        return self.optimizer([g for g in groups if g["params"]], lr=self.learning_rate)

    def update(
        self,
        optimizer: Optimizer,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        factor: float,
        stacked: bool = False,
    ) -> None:
        """Make one step of the optimizer.

        Args:
            optimizer: of these parameters.
            parameters: θ, any shapes.
            gradients: ∇loss, the same shapes.
            factor: of the learning rate, by the schedule.
            stacked: whether the first dimension of all is that of models, each clipped by itself.
        """
        if self.clip is not None:
            gradients = _clipped(gradients, self.clip, stacked)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * factor
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        for parameter in parameters:
            parameter.grad = None


def _clipped(gradients: Sequence[Tensor], limit: float, stacked: bool) -> list[Tensor]:
    rows = [g.flatten(1) if stacked else g.reshape(1, -1) for g in gradients]
    norms = torch.stack([row.square().sum(1) for row in rows]).sum(0).sqrt()
    scales = limit / norms.clamp_min(limit)
    return [(r * scales[:, None]).view_as(g) for r, g in zip(rows, gradients, strict=True)]
