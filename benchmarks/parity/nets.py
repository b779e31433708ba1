"""The small problems that checks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from headwater import AttributionTask, targets
from headwater.attributors import Attributor, InfluenceFunction
from headwater.curvature import Curvature
from headwater.solvers import Solver

__all__ = ["N_TEST", "N_TRAIN", "SmallProblem", "influence", "mlp", "regression"]

N_TRAIN, N_TEST = 40, 7
FEATURES, CLASSES = 5, 3


@dataclass(frozen=True)
class SmallProblem:
    """A trained net with its samples, in float64.

    Args:
        model: in evaluation mode.
        states: two checkpoints of its training, the last is the model's.
        train_set: inputs (40, 5) and labels.
        test_set: inputs (7, 5) and labels.
    """

    model: nn.Module
    states: list[dict[str, Tensor]]
    train_set: TensorDataset
    test_set: TensorDataset

    @property
    def train(self) -> DataLoader[tuple[Tensor, ...]]:
        """All training samples in one batch, as dattri needs it."""
        return DataLoader(self.train_set, batch_size=N_TRAIN)

    @property
    def test(self) -> DataLoader[tuple[Tensor, ...]]:
        """All test samples in one batch."""
        return DataLoader(self.test_set, batch_size=N_TEST)

    def task(self, target: targets.Target | None = None, run: bool = False) -> AttributionTask:
        """Return our task: of the model, or of its run's checkpoints."""
        states = self.states if run else self.states[-1:]
        return AttributionTask(self.model, targets.cross_entropy, target, states)

    def scores(self, attributor: Attributor) -> Tensor:
        """Return our scores, (40, 7); the training samples come in batches of 16."""
        train = DataLoader(self.train_set, batch_size=16)
        return attributor.cache(train).attribute(train, self.test)


def mlp() -> SmallProblem:
    """Return a net with one hidden layer; 39 parameters, a Hessian that is not definite."""
    return _trained(lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.ReLU(), _head(4)))


def regression() -> SmallProblem:
    """Return softmax regression; 18 parameters, a Hessian that is positive semi-definite."""
    return _trained(lambda: nn.Sequential(_head(FEATURES)))


def influence(problem: SmallProblem, solver: Solver, curvature: Curvature | None = None) -> Tensor:
    """Return -n times our influence scores: ⟨∇f_j, (C + λI)^-1 ∇ℓ_i⟩, as peers give it."""
    attributor = InfluenceFunction(problem.task(), solver, curvature)
    return -N_TRAIN * problem.scores(attributor)


def _head(width: int) -> nn.Linear:
    return nn.Linear(width, CLASSES)


def _trained(make: Callable[[], nn.Module]) -> SmallProblem:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().double()
    n = N_TRAIN + N_TEST
    inputs = torch.randn(n, FEATURES, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    optimiser, states = torch.optim.SGD(model.parameters(), lr=0.2), []
    for step in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs[:N_TRAIN]), labels[:N_TRAIN]).backward()
        optimiser.step()
        if step in (19, 39):
            states.append({k: v.detach().clone() for k, v in model.state_dict().items()})
    sets = [
        TensorDataset(inputs[rows], labels[rows]) for rows in (slice(N_TRAIN), slice(N_TRAIN, n))
    ]
    return SmallProblem(model.eval(), states, sets[0], sets[1])
