"""A finished training run, step by step from its end to its start, from its seed alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headwater.benchmark.retraining.descent import sgd_step
from headwater.benchmark.retraining.schedule import dropout_keys, epoch_order, initial_model
from headwater.benchmark.retraining.seeds import derive_seed
from headwater.benchmark.retraining.training import subset_rows
from headwater.benchmark.settings.setting import Setting
from headwater.trajectory import Step

__all__ = ["Replay"]


@dataclass(frozen=True)
class _Batch:
    """What a step draws from the seed: its samples, and the keys of the dropout layers."""

    rows: Tensor
    keys: dict[str, Tensor]


@dataclass(frozen=True)
class _State:
    """Everything that the next step depends on."""

    parameters: dict[str, Tensor]
    velocities: list[Tensor]
    random: Tensor


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
        ValueError: if the subset has another shape or type, or is empty.

    Reference:
        Griewank, Achieving Logarithmic Growth of Temporal and Spatial Complexity in Reverse
        Automatic Differentiation, 1992 (states kept now and then).

    Example:
        >>> from headwater.benchmark.models.logistic_regression import LogisticRegression
        >>> from headwater.benchmark.settings.setting import Recipe
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

    def __len__(self) -> int:
        """Return the number T of steps."""
        recipe = self.setting.recipe
        return recipe.epochs * math.ceil(len(self._rows) / recipe.batch_size)

    def __reversed__(self) -> Iterator[Step]:
        """Yield the steps, the last first."""
        model = initial_model(self.setting, self.seed, self.inputs).train()
        batches = self._batches(model)
        length = math.isqrt(len(batches) - 1) + 1
        kept: list[_State] = []
        state = self._first(model)
        for start in range(0, len(batches), length):
            kept.append(state)
            state = self._run(model, state, batches[start : start + length])[-1]
        recipe = self.setting.recipe
        rate = recipe.learning_rate / (1.0 - recipe.momentum)
        for index in reversed(range(len(kept))):
            part = batches[index * length : (index + 1) * length]
            states = self._run(model, kept.pop(), part)
            for before, batch in reversed(list(zip(states, part, strict=False))):
                yield Step(before.parameters, rate, batch.rows, recipe.weight_decay)

    def final_state(self) -> dict[str, Tensor]:
        """Return the state dict at the end of the run, the checkpoint to explain."""
        model = initial_model(self.setting, self.seed, self.inputs).train()
        return self._run(model, self._first(model), self._batches(model), keep=False)[-1].parameters

    def _batches(self, model: nn.Module) -> list[_Batch]:
        """Return what every step draws from the seed, in order."""
        recipe, found = self.setting.recipe, []
        for epoch in range(1, recipe.epochs + 1):
            order = epoch_order(self.seed, epoch, len(self._rows))
            chosen = self._rows[order].split(recipe.batch_size)
            keys = dropout_keys(self.seed, epoch, len(chosen), model)
            for step, rows in enumerate(chosen):
                found.append(_Batch(rows, {name: words[step] for name, words in keys.items()}))
        return found

    def _first(self, model: nn.Module) -> _State:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "global"))
            velocities = [torch.zeros_like(p) for p in model.parameters() if p.requires_grad]
            return _state_of(model, velocities)

    def _run(
        self, model: nn.Module, state: _State, batches: list[_Batch], keep: bool = True
    ) -> list[_State]:
        """Return the states before each of the steps, and after the last (that one only)."""
        states = [state]
        with torch.random.fork_rng(devices=[]):
            model.load_state_dict(state.parameters)
            torch.set_rng_state(state.random)
            velocities = [velocity.clone() for velocity in state.velocities]
            for batch in batches:
                self._step(model, velocities, batch)
                states.append(_state_of(model, velocities))
                if not keep:
                    del states[:-1]
        return states

    def _step(self, model: nn.Module, velocities: list[Tensor], batch: _Batch) -> None:
        buffers = dict(model.named_buffers())
        for name, word in batch.keys.items():
            buffers[name].copy_(word)
        parameters = [p for p in model.parameters() if p.requires_grad]
        rows = batch.rows.to(self.inputs.device)
        loss = self.setting.loss(model, (self.inputs[rows], self.labels[rows])).mean()
        gradients = torch.autograd.grad(loss, parameters)
        sgd_step(parameters, gradients, velocities, self.setting.recipe)


def _state_of(model: nn.Module, velocities: list[Tensor]) -> _State:
    parameters = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return _State(parameters, [v.clone() for v in velocities], torch.get_rng_state())
