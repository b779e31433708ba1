"""The Gauss-Newton matrix of all classes as rows: one for the label, some for the other classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from headwater import targets
from headwater.batches import Batch, batch_size, to_device
from headwater.checks import check_positive
from headwater.curvature.curvature import Curvature, TrainingData
from headwater.curvature.operator import ROWS
from headwater.curvature.rows import RowOperator
from headwater.curvature.sampled_labels import check_cross_entropy
from headwater.gradients import GradientCapture, Gradients, concatenate
from headwater.task import AttributionTask, BoundModel, SampleFunction

__all__ = ["SampledGaussNewton"]


@dataclass(frozen=True)
class SampledGaussNewton(Curvature):
    """C = (1/n) Σ_i [p_y g_iy g_iyᵀ + ((1-p_y)/S) Σ_s g_ic g_icᵀ], c drawn from the other classes.

    g_ic = ∇(-log p_c) at sample i. For softmax and cross-entropy Σ_c p_c g_ic g_icᵀ is the Gauss-Newton
    matrix; the label's own term is always there, exactly, because the loss gradients are its rows, and
    the others are drawn S times with probability p_c / (1-p_y): the expectation is the whole matrix.
    Or all of them are taken, with weight p_c. In Gram space: n(1 + S) rows, however many parameters.

    Args:
        draws: S; None: all other classes, whose number must be given.
        classes: the number of classes, where all are taken.
        seed: of the draws, which do not depend on how the data is batched.

    Raises:
        ValueError: if draws is not positive, or neither draws nor classes is given.

    Reference:
        Martens, New Insights and Perspectives on the Natural Gradient Method, JMLR 2020.
    """

    draws: int | None = 1
    classes: int | None = None
    seed: int = 0
    offers: ClassVar[frozenset[str]] = frozenset({ROWS})

    def __post_init__(self) -> None:
        """Check the arguments."""
        if (self.draws is None) == (self.classes is None):
            raise ValueError(
                "SampledGaussNewton needs draws, or draws=None and the number of classes, got "
                f"draws={self.draws} and classes={self.classes}"
            )
        check_positive("the draws of other classes", self._others)
        check_positive("seed", self.seed, allow_zero=True)

    @property
    def _others(self) -> int:
        return self.draws if self.draws is not None else (self.classes or 1) - 1

    def row_scale(self, values: Tensor) -> Tensor:
        """Return √(p_y (1 + S)): the operator takes the mean over n(1 + S) rows, C that over n."""
        p = torch.exp(-values.to(torch.float64))
        return (p * (1 + self._others)).sqrt().clamp_min(1e-150)

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:
        """Refuse a loss that is no cross-entropy of (inputs, labels), or other classes than given."""
        check_cross_entropy(model, task.loss, batch)
        with torch.no_grad():
            found = model.values(_classes, to_device(batch, model.device))
        if self.draws is None and int(found[0]) != self.classes:
            raise ValueError(
                f"classes must be the number of the model's logits, {int(found[0])}, got {self.classes}"
            )

    def operator(self, source: TrainingData, estimated: Mapping[str, Tensor]) -> RowOperator:
        """Return the operator whose first n rows are those of the training gradients."""
        own = source.train()
        others = list(self._other_rows(source, own.values))
        gradients = concatenate([own, *(rows for rows, _ in others)])
        scale = torch.cat([self.row_scale(own.values), *(weight for _, weight in others)])
        return RowOperator(gradients, scale)

    def _other_rows(
        self, source: TrainingData, losses: Tensor
    ) -> Iterator[tuple[Gradients, Tensor]]:
        """Yield the gradients and scales of one other class a sample, batch by batch."""
        capture = GradientCapture(source.model, targets.cross_entropy)
        stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed])))
        done, many = 0, 1 + self._others
        for batch in source.batches:
            inputs, labels = to_device((batch[0], batch[1]), source.model.device)
            n = batch_size(batch)
            uniform = torch.from_numpy(stream.random((n, self._others)))
            for s in range(self._others):
                with torch.no_grad():
                    chosen = source.model.values(
                        _other(s) if self.draws is None else _drawn,
                        to_device((inputs, labels, uniform[:, s]), source.model.device),
                    )
                rows = capture((inputs, chosen), first_row=done)
                if self.draws is None:
                    p = torch.exp(-rows.values.to(torch.float64))
                else:  # 1 - p_y, shared by the draws
                    p = -torch.expm1(-losses[done : done + n].to(torch.float64)) / self.draws
                yield rows, (p * many).clamp_min(0.0).sqrt()
            done += n


def _other(s: int) -> SampleFunction:
    """Return the function that names the s-th class that is not the label, (n,)."""

    def other(_: Any, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        labels = batch[1]
        return s + (labels <= s).to(labels.dtype)

    return other


def _classes(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the number of logits at each sample, (n,)."""
    logits = model(batch[0])
    return torch.full((len(logits),), logits.shape[1])


def _drawn(model: Any, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return a class other than the label, with probability p_c / (1-p_y), (n,)."""
    inputs, labels, uniform = batch
    logits = model(inputs).to(torch.float64)
    others = logits.scatter(1, labels[:, None], -torch.inf).softmax(1)
    first = (others.cumsum(1) <= uniform[:, None]).sum(1)
    # The last sum is 1 up to rounding: a u beyond it takes the last class that is no label.
    last = logits.shape[1] - 1 - (labels == logits.shape[1] - 1).to(labels.dtype)
    return torch.minimum(first, last)
