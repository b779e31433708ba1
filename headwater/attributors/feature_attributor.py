"""Methods that take no gradients: they keep a few tensors of every sample, and compare those."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from headwater.attributors.attributor import Attributor
from headwater.attributors.method import Rows
from headwater.batches import Batch, batch_size, tensors_of, to_device
from headwater.checks import check_finite
from headwater.gradients.source import GradientSource
from headwater.memory import LARGE, row_blocks
from headwater.model_outputs import logits_of, replace_logits
from headwater.progress import track
from headwater.solvers import State
from headwater.task import BoundModel, SampleFunction

TEST = "test."
"""What the names of the test samples' tensors begin with."""
Describe = Callable[[Batch], Mapping[str, Tensor]]
"""Returns what is kept of the samples of a batch: tensors whose first dimension is the sample."""


class FeatureAttributor(Attributor):
    """Keep a few tensors of every sample, such as features or labels, and take no gradient.

    `cache` reads the training loader once for all checkpoints, whatever its size, and nothing reads it
    later. A test loader beyond a quarter of the memory budget is read once per checkpoint.
    """

    @abstractmethod
    def describer(self, source: GradientSource) -> Describe:
        """Return what is called with one batch after the other, on the model's device."""

    def summary(self, source: GradientSource, samples: dict[str, Tensor]) -> State:
        """Return what is made of all that is kept of the training samples; default: just that."""
        return samples

    def prepare_all(self, sources: Sequence[GradientSource]) -> list[State]:
        """Describe the training samples at all checkpoints in one pass over them."""
        data, device = sources[0].batches, sources[0].device
        found = described([self.describer(source) for source in sources], data, device)
        return [self.summary(*pair) for pair in zip(sources, found, strict=True)]

    def prepare(self, source: GradientSource) -> State:
        """Describe the training samples at one checkpoint."""
        return self.prepare_all([source])[0]

    def tests(self, source: GradientSource) -> dict[str, Tensor]:
        """Return what is kept of the test samples."""
        return described([self.describer(source)], source.test_batches, source.device)[0]


class DirectedAttributor(FeatureAttributor):
    """Score a pair by how much sample i helps the prediction of j, without any gradient.

    scores[i, j] = d · v(i, j), v the value that a method gives the pair, and d = +1 for a target that
    rises when the loss falls (margin, logit, log-probability), -1 for the loss. Self-influence is
    v(i, i): how much i helps its own prediction. With several checkpoints values are averaged.

    Raises:
        ValueError: in `cache`, if the target does not rise or fall with the loss.
    """

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a target that does not rise or fall with the loss."""
        direction(source.model, self.task.loss, self.task.target, batch)

    def summary(self, source: GradientSource, samples: dict[str, Tensor]) -> State:
        """Return what is kept of the training samples, and {"direction": d}."""
        first = next(iter(source.batches))
        sign = direction(source.model, self.task.loss, self.task.target, first)
        return {**samples, "direction": torch.tensor(sign, dtype=torch.float64)}


class PairwiseAttributor(DirectedAttributor):
    """Value each pair by itself: a method says what it keeps of a sample, and how two compare."""

    @abstractmethod
    def value(self, train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> Tensor:
        """Return v(i, j) for a block of training samples and all test samples, (b, m)."""

    @abstractmethod
    def self_value(self, train: Mapping[str, Tensor]) -> Tensor:
        """Return v(i, i), (n,)."""

    def solve(self, source: GradientSource, state: State) -> State:
        """Add what is kept of the test samples."""
        return {**state, **{TEST + name: kept for name, kept in self.tests(source).items()}}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield d · v(i, j) for one block of training samples after the other."""
        test = {k.removeprefix(TEST): t for k, t in solved.items() if k.startswith(TEST)}
        train = {k: solved[k] for k in test}
        n, m = (len(next(iter(side.values()))) for side in (train, test))
        for rows in row_blocks(n, m, source.device, numbers=LARGE):
            values = self.value({name: t[rows] for name, t in train.items()}, test)
            yield rows, values * float(solved["direction"])

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return v(i, i)."""
        return self.self_value(state)


def described(
    describers: Sequence[Describe], batches: Iterable[Batch], device: torch.device
) -> list[dict[str, Tensor]]:
    """Return what each describer keeps of all samples, in one pass; ValueError if they are not finite."""
    parts: list[list[Mapping[str, Tensor]]] = [[] for _ in describers]
    done = 0
    for batch in track(batches, "samples"):
        for tensor in tensors_of(batch):
            check_finite("the data", tensor, done)
        with torch.no_grad():
            here = to_device(batch, device)
            for kept, describe in zip(parts, describers, strict=True):
                kept.append(describe(here))
        done += batch_size(batch)
    return [{name: joined([p[name] for p in kept]) for name in kept[0]} for kept in parts]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return all samples in one tensor; shorter rows of whole numbers are filled up with -1."""
    if parts[0].ndim == 2 and not parts[0].is_floating_point():
        width = max(part.shape[1] for part in parts)
        parts = [pad(part, (0, width - part.shape[1]), value=-1) for part in parts]
    return torch.cat(list(parts))


def direction(
    model: BoundModel, loss: SampleFunction, target: SampleFunction, batch: Batch
) -> float:
    """Return +1 for a target that rises when the loss falls, -1 for one that falls with it.

    The sign of ⟨∂f_i/∂z, -∂ℓ_i/∂z⟩, z the logits of the model: +1 for margin, logit and
    log-probability, -1 for the loss. Cost: two passes over the output.
    ValueError if the target rises at some samples and falls at others, or at none does either.
    """
    batch = to_device(batch, model.device)
    of_loss = _output_gradients(model, loss, batch)
    if target is loss:
        return -1.0
    of_target = _output_gradients(model, target, batch)
    if of_target.shape != of_loss.shape:
        raise ValueError(
            "loss and target must call the model on the same inputs, got outputs of "
            f"{of_loss.shape[1]} and {of_target.shape[1]} numbers per sample; explain the loss"
        )
    products = -(of_target * of_loss).sum(1)
    rising, falling = int((products > 0).sum()), int((products < 0).sum())
    if bool(rising) == bool(falling):
        raise ValueError(
            "the target must rise or fall with the loss, the same at every sample, got "
            f"{rising} samples where it rises as the loss falls and {falling} where it falls with it "
            f"(of {len(products)}); explain the loss, or a margin or probability of the label"
        )
    return 1.0 if rising else -1.0


def _output_gradients(model: BoundModel, function: SampleFunction, batch: Batch) -> Tensor:
    """Return ∂f_i/∂z, z the logits of all calls of the model in their order, (n, numbers)."""
    outputs: list[Tensor] = []

    def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        outputs.append(logits_of(output).detach().requires_grad_())
        return replace_logits(output, outputs[-1].clone())

    n = batch_size(batch)
    with torch.enable_grad(), model.module.register_forward_hook(hook):
        values = model.values(function, batch)
    if not outputs or any(z.ndim == 0 or len(z) != n for z in outputs):
        raise ValueError(
            f"loss and target must call the model on the {n} samples of a batch, got outputs of shape "
            f"{[tuple(z.shape) for z in outputs]}; write them as f(model, batch) with model(inputs)"
        )
    if not values.requires_grad:
        return torch.cat([torch.zeros_like(z).flatten(1) for z in outputs], 1).detach()
    found = torch.autograd.grad(values.sum(), outputs, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten(1) for gradient in found], 1)
