"""Training of many models at once, their parameters stacked along a first dimension."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from headwater.benchmark.models.dropout import StatelessDropout
from headwater.benchmark.recipes import END, Checkpoint, Recipe
from headwater.benchmark.retraining.evaluation import FunctionOfModel
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training.draws import Draw, epoch_draws, initial_model
from headwater.benchmark.training.run import precision, recipe_of
from headwater.benchmark.training.training import check_epochs, check_finite_loss, subset_rows

__all__ = ["ModelStack", "is_stackable", "train_stacked"]


class ModelStack:
    """Parameters of r models of one architecture, trained by one vmap over the stack.

    Args:
        setting: Loss and recipe.
        models: The r initialised models, equal in architecture.

    Raises:
        ValueError: If the models hold buffers (such as BatchNorm's) or frozen parameters.
    """

    def __init__(self, setting: Setting, models: Sequence[nn.Module]) -> None:
        self.setting, self.recipe = setting, recipe_of(setting)
        self.model = models[0]
        if others := _unstackable(self.model):
            raise ValueError(
                f"stacked models must hold trainable parameters only, got "
                f"{', '.join(sorted(others))}; train them one by one with train_model"
            )
        named = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: torch.stack([parameters[name].detach() for parameters in named])
            for name in named[0]
        }
        self._optimizer = self.recipe.make_optimizer(self.model, self.parameters)
        self._loss = FunctionOfModel(self.model.train(), setting.loss)

    def __len__(self) -> int:
        """Return the number of models."""
        return len(next(iter(self.parameters.values())))

    def states(self) -> list[dict[str, Tensor]]:
        """Return a copy of each model's state dict, tied parameters under each of their names."""
        first = {id(parameter): name for name, parameter in self.model.named_parameters()}
        tied = dict(self.model.named_parameters(remove_duplicate=False))
        stacks = {name: self.parameters[first[id(p)]] for name, p in tied.items()}
        return [{name: t[i].clone() for name, t in stacks.items()} for i in range(len(self))]

    def step(
        self,
        inputs: Tensor,
        labels: Tensor,
        weights: Tensor,
        keys: dict[str, Tensor],
        factor: float,
        shared: bool,
    ) -> Tensor:
        """Make one step on Σ_b weights_b · loss_b, for all models.

        Args:
            inputs: (B, ...) if shared by all models, else (r, B, ...).
            labels: the same.
            weights: of the samples, (B,), or (r, B).
            keys: of the dropout layers, () if shared, else (r,).
            factor: of the learning rate.
            shared: whether all models see the same batch and keys.

        Returns:
            Weighted losses before the step, (r,).
        """
        batch = None if shared else 0
        dims = (0, batch, batch, batch, 0 if weights.ndim == 2 else None)
        with torch.no_grad(), precision(self.recipe, inputs.device):
            gradients, losses = vmap(grad_and_value(self._objective), in_dims=dims)(
                self.parameters, keys, inputs, labels, weights
            )
        with torch.no_grad():
            stacks = list(self.parameters.values())
            found = [gradients[name] for name in self.parameters]
            self.recipe.update(self._optimizer, stacks, found, factor, stacked=True)
        values: Tensor = losses
        return values

    def draw(self, draws: Sequence[Draw], rows: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Make the step that each model's own seed draws from its own rows (r, m); return (r,)."""
        places = torch.stack([of[draw.places] for of, draw in zip(rows, draws, strict=True)])
        batch = places.to(inputs.device)
        seen = [d.augmented(self.recipe, inputs[of]) for d, of in zip(draws, batch, strict=True)]
        keys = {
            name: torch.stack([draw.keys[name] for draw in draws]).to(inputs.device)
            for name in draws[0].keys
        }
        size = batch.shape[1]
        weights = next(iter(self.parameters.values())).new_full((size,), 1.0 / size)
        return self.step(
            torch.stack(seen), labels[batch], weights, keys, draws[0].factor, shared=False
        )

    @property
    def learning_rate(self) -> float:
        """That of the last step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def _objective(
        self,
        parameters: dict[str, Tensor],
        keys: dict[str, Tensor],
        inputs: Tensor,
        labels: Tensor,
        weights: Tensor,
    ) -> Tensor:
        named = {f"model.{name}": tensor for name, tensor in {**parameters, **keys}.items()}
        losses: Tensor = functional_call(self._loss, named, ((inputs, labels),))
        return (losses * weights).sum()


def is_stackable(setting: Setting) -> bool:
    """Return whether models of a setting can be trained in a stack: by a recipe, without buffers."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = setting.make_model()
    return isinstance(setting.recipe, Recipe) and not _unstackable(model)


def _unstackable(model: nn.Module) -> set[str]:
    """Return what a model holds beside trainable parameters and the keys of dropout."""
    keys = {f"{n}.key" for n, m in model.named_modules() if isinstance(m, StatelessDropout)}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return set(dict(model.named_buffers())) - keys | frozen


def train_stacked(
    setting: Setting,
    inputs: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    subsets: NDArray[np.bool_] | Tensor | None = None,
    *,
    epochs: Sequence[int] = (END,),
) -> list[list[Checkpoint]]:
    """Train one model per seed at once; result i is that of train_model(seeds[i], subsets[i]).

    Faster than one by one on a GPU; on a CPU use processes (`train_many`).

    Args:
        setting: model, loss and recipe.
        inputs: (n, ...).
        labels: (n, ...).
        seeds: r seeds.
        subsets: bool (r, n), all rows of equal size; None: all samples.
        epochs: after which a state is kept, ascending.

    Raises:
        ValueError: if the subsets differ in size or in number from the seeds, or the models cannot be
            stacked.
        FloatingPointError: if a loss becomes NaN or infinite.
    """
    rows = _stacked_rows(subsets, len(seeds), len(inputs))
    stack = ModelStack(setting, [initial_model(setting, seed, inputs) for seed in seeds])
    epochs = check_epochs(setting, epochs)
    kept: list[list[Checkpoint]] = [[] for _ in seeds]
    for epoch in range(1, epochs[-1] + 1):
        draws = [epoch_draws(stack.recipe, s, epoch, rows.shape[1], stack.model) for s in seeds]
        steps = [
            stack.draw(together, rows, inputs, labels) for together in zip(*draws, strict=True)
        ]
        losses = torch.stack(steps).mean(0).tolist()
        for loss in losses:
            check_finite_loss(loss, epoch, setting)
        if epoch in epochs:
            for checkpoints, state, loss in zip(kept, stack.states(), losses, strict=True):
                checkpoints.append(Checkpoint(epoch, stack.learning_rate, state, loss))
    return kept


def _stacked_rows(subsets: NDArray[np.bool_] | Tensor | None, n_models: int, n: int) -> Tensor:
    if n_models < 1:
        raise ValueError("seeds must name at least one model, got none; pass one seed per model")
    if subsets is None:
        return torch.arange(n).expand(n_models, n)
    if len(subsets) != n_models:
        raise ValueError(
            f"subsets must have one row per seed, got {len(subsets)} rows and {n_models} seeds; "
            "pass as many of each"
        )
    rows = [subset_rows(mask, n) for mask in subsets]
    sizes = sorted({len(r) for r in rows})
    if len(sizes) > 1:
        raise ValueError(
            f"stacked subsets must have equal sizes, got {sizes[0]} to {sizes[-1]}; "
            "stack those of equal size together"
        )
    return torch.stack(rows)
