"""A finished training run, step by step from its end to its start, from its seed alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import SGD

from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training.draws import Draw
from headwater.benchmark.training.run import Run, State, copied, recipe_of
from headwater.benchmark.training.training import subset_rows
from headwater.trajectory import Step

__all__ = ["Replay"]


class Replay:
    """Train once more as `train_model` did, and give its steps in reverse.

    ``reversed(replay)`` yields the steps of the run, the last first, with the parameters before each.
    It keeps √T states of the run and goes forward from them: two trainings in all, and memory for
    2√T models (and velocities). The bits are those of `train_model` on the same machine (layers that
    draw from the global generator: on the CPU only). Momentum gives steps the rate η/(1-β).

    Args:
        setting: model, loss and recipe.
        inputs: (n, ...), all samples; the rows of a step are places among them.
        labels: int64 (n,).
        seed: the seed of the run.
        subset: bool (n,), the samples that the run was trained on; all of them by default.

    Raises:
        ValueError: if the subset has another shape or type or is empty, or the recipe is not one of SGD.

    Reference:
        Griewank, Achieving Logarithmic Growth of Temporal and Spatial Complexity in Reverse
        Automatic Differentiation, 1992 (states kept now and then).

    Example:
        >>> import torch
        >>> from headwater.benchmark.models.logistic_regression import LogisticRegression
        >>> from headwater.benchmark.recipes import Recipe
        >>> from headwater import targets
        >>> setting = Setting("tiny", lambda: LogisticRegression(2, 3), lambda path: None,
        ...                   targets.cross_entropy, {}, Recipe(0.1, batch_size=2, epochs=2))
        >>> replay = Replay(setting, torch.ones(5, 2), torch.tensor([0, 1, 2, 0, 1]), seed=0)
        >>> len(replay), [len(step.rows) for step in reversed(replay)]
        (6, [1, 2, 2, 1, 2, 2])
    """

    def __init__(
        self,
        setting: Setting,
        inputs: Tensor,
        labels: Tensor,
        seed: int,
        subset: NDArray[np.bool_] | Tensor | None = None,
    ) -> None:
        self.setting, self.inputs, self.labels, self.seed = setting, inputs, labels, seed
        self._rows = subset_rows(subset, len(inputs))
        self.recipe = recipe_of(setting)
        altered = self.recipe.augment is not None or self.recipe.clip is not None
        if altered or not isinstance(self._run().optimizer, SGD):
            raise ValueError(
                f"a replay must follow plain gradient descent, got {setting.name} with another "
                "optimizer, clipped gradients or augmented samples; leave out methods that follow a run"
            )

    def __len__(self) -> int:
        """Return the number T of steps."""
        return self.recipe.epochs * math.ceil(len(self._rows) / self.recipe.batch_size)

    def __reversed__(self) -> Iterator[Step]:
        """Yield the steps, the last first."""
        run = self._run()
        draws = self._draws(run)
        length = math.isqrt(len(draws) - 1) + 1
        kept: list[State] = []
        for start in range(0, len(draws), length):
            kept.append(run.state())
            run.advance(draws[start : start + length])
        for start in reversed(range(0, len(draws), length)):
            run.load(kept.pop())
            part = draws[start : start + length]
            steps = [self._step(run, draw) for draw in part]
            yield from reversed(steps)

    def final_state(self) -> dict[str, Tensor]:
        """Return the state dict at the end of the run, the checkpoint to explain."""
        run = self._run()
        run.advance(self._draws(run))
        return copied(run.model.state_dict())

    def _run(self) -> Run:
        return Run(self.setting, self.inputs, self.labels, self.seed, self._rows)

    def _draws(self, run: Run) -> list[Draw]:
        return [draw for e in range(1, self.recipe.epochs + 1) for draw in run.draws(e)]

    def _step(self, run: Run, draw: Draw) -> Step:
        """Make a step; return it with the parameters before it."""
        before = copied(run.model.state_dict())
        run.advance([draw])
        group = run.optimizer.param_groups[0]
        rate = group["lr"] / (1.0 - group["momentum"])
        return Step(before, rate, self._rows[draw.places], self.recipe.weight_decay)
