"""Which matrix C stands for the curvature of the mean loss, and whose gradients it is made of."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from headwater.batches import Batch
from headwater.curvature.operator import LinearOperator
from headwater.gradients.source import GradientSource
from headwater.task import AttributionTask, BoundModel, SampleFunction


class Curvature(ABC):
    """A symmetric p × p matrix C at a checkpoint, the curvature of the mean loss or a stand-in."""

    offers: ClassVar[frozenset[str]] = frozenset()
    """What its operator can do beyond products, in the words of `headwater.curvature.operator`."""
    whole: ClassVar[bool] = True
    """Whether C is a matrix of all parameters, so that gradients must not be projected."""
    rows_per_sample: int = 1
    """Rows that it is made of, of each training sample, where it is made of rows."""
    passes: ClassVar[int] = 0  # through the model, there and back, of C times a vector; 0: of rows

    def function(self, task: AttributionTask) -> SampleFunction:
        """Return the function whose gradients g_i are captured; default: the loss."""
        return task.loss

    def loss_scale(self, values: Tensor) -> Tensor:
        """Return σ (n,) with ∇ℓ_i = σ_i g_i, from the function's values (n,); default: ones."""
        return torch.ones_like(values, dtype=torch.float64)

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:  # noqa: B027
        """Raise ValueError if the task's loss is not one that this curvature is made for."""

    def estimate(self, source: GradientSource) -> Mapping[str, Tensor]:
        """Return what must be computed of the training data first, whatever the damping; default: {}."""
        return {}

    @abstractmethod
    def operator(self, source: GradientSource, estimated: Mapping[str, Tensor]) -> LinearOperator:
        """Return C at one checkpoint, from the training data and what `estimate` returned."""


def curvatures_that_offer(asked: frozenset[str]) -> list[str]:
    """Return the names of all curvatures, a user's own too, whose operators offer what is asked for."""
    kinds = [Curvature]
    for kind in kinds:
        kinds += kind.__subclasses__()  # they are visited as well
    concrete = (kind for kind in kinds if not inspect.isabstract(kind))
    return sorted({kind.__name__ for kind in concrete if asked <= kind.offers})
