"""Curvatures with one row per sample: C = (1/n) Σ ρ_i² g_i g_iᵀ and ∇ℓ_i = σ_i g_i.

| curvature | function | ρ_i | σ_i |
|---|---|---|---|
| EmpiricalFisher | the loss | 1 | 1 |
| MarginGaussNewton | margin m = log p/(1-p) | √(p(1-p)) | -(1-p) |
| MarginKernel | the same margin | 1 | -(1-p) |
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from headwater.curvature.curvature import Curvature
from headwater.curvature.operator import MEAN_OVER_SAMPLES, ROW_PER_SAMPLE, ROWS
from headwater.curvature.rows import RowOperator
from headwater.gradients.source import GradientSource

__all__ = ["EmpiricalFisher", "SampleCurvature"]


class SampleCurvature(Curvature):
    """A positive semi-definite curvature with one row per sample: C = (1/n) Σ ρ_i² g_i g_iᵀ."""

    offers: ClassVar[frozenset[str]] = frozenset({MEAN_OVER_SAMPLES, ROWS, ROW_PER_SAMPLE})
    whole: ClassVar[bool] = False

    @abstractmethod
    def row_scale(self, values: Tensor) -> Tensor:
        """Return ρ (n,) from the function's values (n,), in float64."""

    def operator(self, source: GradientSource, estimated: Mapping[str, Tensor]) -> RowOperator:
        """Return the operator made of the training gradients."""
        budget = source.task.memory_budget // 4
        return RowOperator(source, self.row_scale(source.values()), budget=budget)


@dataclass(frozen=True)
class EmpiricalFisher(SampleCurvature):
    """C = (1/n) Σ_i ∇ℓ_i ∇ℓ_iᵀ, for any loss.

    Reference:
        Kunstner, Balles and Hennig, Limitations of the Empirical Fisher Approximation, NeurIPS 2019.
    """

    def row_scale(self, values: Tensor) -> Tensor:
        """Return ones."""
        return torch.ones_like(values, dtype=torch.float64)
