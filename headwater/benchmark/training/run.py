"""One training run by a recipe: its model and optimizer, step by step."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training.draws import Draw, epoch_draws, initial_model
from headwater.benchmark.training.seeds import derive_seed

__all__ = ["Run", "State", "copied", "precision", "recipe_of"]


@dataclass(frozen=True)
class State:
    """Everything that the next step depends on."""

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    random: list[Tensor]


class Run:
    """The training run of a setting's recipe on some samples.

    Initial weights, the order of the samples, dropout masks and augmentation follow from the seed alone,
    and so do layers that draw from the global random state. The model takes device and dtype of the
    inputs.

    Args:
        setting: model, loss and recipe.
        inputs: (n, ...), all samples.
        labels: (n, ...).
        seed: of the run.
        rows: places of the samples to train on, int64 (m,).
    """

    def __init__(
        self, setting: Setting, inputs: Tensor, labels: Tensor, seed: int, rows: Tensor
    ) -> None:
        self.recipe, self.loss = recipe_of(setting), setting.loss
        self.inputs, self.labels, self.seed, self.rows = inputs, labels, seed, rows
        self.model = initial_model(setting, seed, inputs).train()
        self.parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = self.recipe.make_optimizer(self.model, self.parameters)
        self._devices = [inputs.device] if inputs.is_cuda else []
        with torch.random.fork_rng(self._devices):
            torch.manual_seed(derive_seed(seed, "global"))
            self._random = self._random_states()

    def draws(self, epoch: int) -> Iterator[Draw]:
        """Yield the steps of an epoch, counted from 1."""
        return epoch_draws(self.recipe, self.seed, epoch, len(self.rows), self.model)

    def advance(self, draws: Iterable[Draw]) -> float:
        """Make steps; return the mean of their losses."""
        with self._own_random_states():
            losses = [self._step(draw) for draw in draws]
        return float(torch.stack(losses).mean())

    def state(self) -> State:
        """Return a copy of the state."""
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        return State(copied(self.model.state_dict()), optimizer, self._random)

    def load(self, state: State) -> None:
        """Go on from a state."""
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self._random = state.random

    def _step(self, draw: Draw) -> Tensor:
        buffers = dict(self.model.named_buffers())
        for name, word in draw.keys.items():
            buffers[name].copy_(word)
        rows = self.rows[draw.places].to(self.inputs.device)
        inputs = draw.augmented(self.recipe, self.inputs[rows])
        with precision(self.recipe, inputs.device):
            loss = self.loss(self.model, (inputs, self.labels[rows])).mean()
        parameters = list(self.parameters.values())
        gradients = torch.autograd.grad(loss, parameters)
        self.recipe.update(self.optimizer, parameters, gradients, draw.factor)
        return loss.detach()

    @contextmanager
    def _own_random_states(self) -> Iterator[None]:
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._random[0])
            for device, state in zip(self._devices, self._random[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
            self._random = self._random_states()

    def _random_states(self) -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(d) for d in self._devices)]


def recipe_of(setting: Setting) -> Recipe:
    """Return the recipe of a setting; ValueError if it has a training loop of its own."""
    if isinstance(setting.recipe, Recipe):
        return setting.recipe
    raise ValueError(
        f"the steps of {setting.name} must come from a Recipe, got a training loop of its own; "
        "leave out what follows or stacks its steps"
    )


def precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a step computes its loss."""
    if recipe.autocast is None or device.type == "cpu":
        return nullcontext()
    return torch.autocast(device.type, recipe.autocast)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict that training does not change any more."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}
