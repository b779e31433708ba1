"""Against traker: TRAK without a projection, up to its scale. It works in float32."""

from __future__ import annotations

import copy
import tempfile

from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from trak.projectors import NoOpProjector

from benchmarks.parity.check import Check, scaled_to
from benchmarks.parity.nets import N_TRAIN, SmallProblem, mlp
from benchmarks.sides.traker import trak_scores
from headwater import targets
from headwater.attributors import TRAK

__all__ = ["CHECKS"]

DAMPING = 0.1


def _trak() -> tuple[Tensor, Tensor]:
    problem = mlp()
    size = problem.task().layout.size
    with tempfile.TemporaryDirectory() as folder:
        found = trak_scores(
            copy.deepcopy(problem.model).float(),
            {name: t.float() for name, t in problem.states[-1].items()},
            *_loaders(problem),
            folder,
            projector=NoOpProjector(device="cpu"),
            lambda_reg=DAMPING,
        )
    # Ours is added to the mean Gram matrix of gradients that are not divided by √p.
    ours = problem.scores(TRAK(problem.task(targets.margin), None, DAMPING * size / N_TRAIN))
    return ours, scaled_to(ours, found)


def _loaders(problem: SmallProblem) -> list[DataLoader[tuple[Tensor, ...]]]:
    sets = (problem.train_set, problem.test_set)
    return [
        DataLoader(TensorDataset(s.tensors[0].float(), s.tensors[1]), batch_size=16) for s in sets
    ]


CHECKS = (Check("TRAK without projection, up to scale", _trak, 1e-4),)
