"""What one sample of a setting takes, counted on two random ones: the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings import get_setting
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training.draws import initial_model
from headwater.checkpoints import Checkpoint
from headwater.gradients import GradientCapture, Gradients
from headwater.gradients.store_writer import BLOCK_BYTES
from headwater.gradients.term import Term
from headwater.projections import GradientProjection
from headwater.task import AttributionTask

__all__ = ["Footprint", "Training", "footprint", "samples_of", "task_of", "training_of"]

COUNTED = 2
"""Samples that are counted: one does not show what a batch shares."""


@dataclass(frozen=True)
class Training:
    """What training takes: bytes of a state dict and of a sample, and operations.

    Args:
        state: bytes of a state dict.
        sample: bytes of the inputs and labels of one sample.
        pass_: operations of a forward and backward pass of one sample.
        epochs: of a run; 0: a training loop of its own, whose steps are not known.
        batch: samples per step.
    """

    state: float
    sample: float
    pass_: float
    epochs: int
    batch: int

    def steps(self, n: int, epochs: int | None = None) -> int:
        """Return the steps of a run on n samples, until after some of its epochs."""
        return (self.epochs if epochs is None else epochs) * -(-n // self.batch)


@dataclass(frozen=True)
class Footprint:
    """What the gradient of one sample takes.

    Args:
        passed: bytes that its forward and backward pass keeps, activations and their gradients.
        captured: bytes of it as it is captured.
        kept: bytes on disk, in the dtype of the store.
        numbers: of the gradient as a vector, projected or not.
        pair: operations of an inner product of two.
        block: samples in a block of the store, if nobody says otherwise.
    """

    passed: float
    captured: float
    kept: float
    numbers: int
    pair: float
    block: int


@cache
def training_of(name: str) -> Training:
    """Count what training a model of a setting takes, on one pass of two samples."""
    setting = get_setting(name)
    inputs, labels = samples_of(setting, COUNTED)
    model = initial_model(setting, 0, inputs).eval()
    with FlopCounterMode(display=False) as counter:
        setting.loss(model, (inputs, labels)).sum().backward()
    recipe = setting.recipe
    known = (recipe.epochs, recipe.batch_size) if isinstance(recipe, Recipe) else (0, 1)
    state = sum(tensor.nbytes for tensor in model.state_dict().values())
    passed = counter.get_total_flops() / COUNTED
    return Training(state, (inputs.nbytes + labels.nbytes) / COUNTED, passed, *known)


@cache
def footprint(
    name: str, function: str, projections: tuple[GradientProjection, ...], dense: bool, dtype: str
) -> Footprint:
    """Count the gradients of a function of a setting, as a store and a method keep them.

    Args:
        name: of the setting.
        function: one of its targets.
        projections: of the store, then of the method.
        dense: whether vectors are formed.
        dtype: of the numbers on disk.
    """
    as_captured, passed = _captured(name, function)
    found = as_captured
    for projection in projections:
        found = found.project(projection.for_checkpoint(0))
    if dense:
        found = Gradients.of_vectors(found.dense(), found.values)
    size = np.dtype(dtype).itemsize
    tensors = found.tensors()
    widest = max(int(tensor[0].numel()) for tensor in tensors.values() if tensor.numel())
    return Footprint(
        passed,
        as_captured.nbytes / COUNTED,
        sum(_on_disk(tensor, size if n != "values" else 8) for n, tensor in tensors.items()),
        found.dimension,
        sum(map(_pair, found.terms)),
        max(1, BLOCK_BYTES // (widest * size)),
    )


def samples_of(setting: Setting, n: int) -> tuple[Tensor, Tensor]:
    """Return n random samples of a setting, or the first ones of its data if it draws none."""
    if setting.draw is not None:
        return setting.draw(n)
    inputs, labels, *_ = setting.load_data(Path("data"))
    return inputs[:n], labels[:n]


def task_of(setting: Setting, function: str, like: Tensor) -> AttributionTask:
    """Return the task of a fresh model of a setting, on the device of its samples."""
    model = initial_model(setting, 0, like)
    states: Sequence[Checkpoint] = [model.state_dict()]
    return AttributionTask(model, setting.loss, setting.targets[function], states)


@cache
def _captured(name: str, function: str) -> tuple[Gradients, float]:
    """Return the gradients of random samples, and the bytes that the pass of one of them keeps."""
    setting = get_setting(name)
    samples = samples_of(setting, COUNTED)
    task = task_of(setting, function, samples[0])
    capture = GradientCapture(task.bind(0), task.target)
    capture(samples)  # the first call also checks the rules, in passes of its own
    parameters = {p.untyped_storage().data_ptr() for p in capture.model.module.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        gradients = capture(samples)
    return gradients, 2 * sum(saved.values()) / COUNTED


def _on_disk(tensor: Tensor, size: int) -> float:
    """Return bytes per sample: indices are stored in 32 bits."""
    return tensor[0].numel() * (size if tensor.is_floating_point() else 4)


def _pair(term: Term) -> float:
    """Return the multiplications and additions of ⟨g_i, g'_j⟩: of all positions, or formed."""
    numbers = {name: t[0].numel() for name, t in term.tensors().items()}
    positions = max((t.shape[1] for t in term.tensors().values() if t.ndim > 2), default=1)
    return 2.0 * min(positions * sum(numbers.values()), term.width)
