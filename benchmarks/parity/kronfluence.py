"""Against kronfluence: scores by EK-FAC, K-FAC and no curvature at all."""

from __future__ import annotations

import copy
import tempfile

import torch
from torch import Tensor

from benchmarks.parity.check import SCORES, Check
from benchmarks.parity.nets import influence, mlp
from benchmarks.sides.kronfluence import factored_scores
from headwater.attributors import GradDot
from headwater.curvature import EKFAC, KFAC, Curvature
from headwater.solvers import Eigenbasis

__all__ = ["CHECKS"]

DAMPING = 0.01


def _theirs(strategy: str) -> Tensor:
    problem = mlp()
    with tempfile.TemporaryDirectory() as folder:
        return factored_scores(
            copy.deepcopy(problem.model), problem.train_set, problem.test_set, folder, DAMPING,
            torch.float64, strategy,
        )  # fmt: skip


def _ours(curvature: Curvature) -> Tensor:
    return influence(mlp(), Eigenbasis(DAMPING), curvature)


CHECKS = (
    Check("EK-FAC, empirical", lambda: (_ours(EKFAC("empirical")), _theirs("ekfac")), SCORES),
    Check("K-FAC, empirical", lambda: (_ours(KFAC("empirical")), _theirs("kfac")), SCORES),
    Check("Grad-Dot", lambda: (-mlp().scores(GradDot(mlp().task())), _theirs("identity")), SCORES),
)
