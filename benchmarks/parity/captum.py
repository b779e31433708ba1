"""Against captum: TracInCP and the influence function by an explicit Hessian."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from captum.influence import TracInCP as TheirTracInCP
from captum.influence._core.influence_function import NaiveInfluenceFunction
from torch import Tensor, nn

from benchmarks.parity.check import SCORES, Check
from benchmarks.parity.nets import N_TRAIN, influence, mlp, regression
from headwater import solvers
from headwater.attributors import TracInCP
from headwater.curvature import ExactHessian

__all__ = ["CHECKS"]

RATES = (0.3, 0.1)
DAMPING = 0.1


def _tracin() -> tuple[Tensor, Tensor]:
    problem = mlp()

    def load(model: nn.Module, index: Any) -> float:
        model.load_state_dict(problem.states[int(index)])
        return RATES[int(index)]

    theirs = TheirTracInCP(
        copy.deepcopy(problem.model), problem.train_set, ["0", "1"], load,
        loss_fn=nn.CrossEntropyLoss(reduction="none"), batch_size=16,
    )  # fmt: skip
    found = theirs.influence(tuple(problem.test_set.tensors)).T  # (n_test, n_train)
    return -problem.scores(TracInCP(problem.task(run=True), RATES)), found


def _naive() -> tuple[Tensor, Tensor]:
    problem = regression()
    size = problem.task().layout.size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        torch.save(problem.states[-1], path)
        theirs = NaiveInfluenceFunction(
            copy.deepcopy(problem.model), problem.train_set, str(path),
            loss_fn=nn.CrossEntropyLoss(reduction="none"), batch_size=16, projection_dim=size,
            hessian_reg=N_TRAIN * DAMPING, hessian_inverse_tol=0.0,
        )  # fmt: skip
        found = theirs.influence(tuple(problem.test_set.tensors)).T
    # Its Hessian is that of the sum of the losses.
    ours = influence(problem, solvers.Explicit(DAMPING), ExactHessian())
    return ours, found * N_TRAIN


CHECKS = (
    Check("TracInCP, two checkpoints", _tracin, SCORES),
    Check("influence function, explicit Hessian of full rank", _naive, SCORES),
)
