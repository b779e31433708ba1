"""From a recipe in params.yaml to an attributor and the gradients it works on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor
from headwater.attributors.gradient_attributor import GradientAttributor
from headwater.gradients import GradientStore
from headwater.gradients.source import StoredSource
from headwater.task import AttributionTask
from stages.files import load_json
from stages.params import Infeasible, Method
from stages.problem import batches, checkpoint_files, load_split, training_record
from stages.recipes import construct, find, takes
from stages.task import make_task

__all__ = ["GIVEN", "Problem", "attributor_class", "make_attributor", "tuned"]

_TUNED = 2


@dataclass(frozen=True)
class Given:
    """An argument of attributors that no recipe says, because the workflow makes it."""

    make: str  # import path of make(problem) -> value
    finished: bool  # whether it belongs to checkpoints that are the ends of different runs
    blank: Callable[[int], Any]  # blank(count) stands for it where a recipe is only checked


GIVEN = {
    "learning_rates": Given("stages.runs:learning_rates", False, lambda n: [1.0] * n),
    "runs": Given("stages.runs:training_runs", True, lambda n: [[object()]] * n),
    "steps": Given("stages.runs:first_run", True, lambda n: [object()]),
}
"""By name; imported when an attributor takes one, so that the others do not depend on its code."""


@dataclass(frozen=True)
class Problem:
    """The folders of a problem, clean or noisy, that a method works on, at `count` checkpoints.

    `data` and `gradients` hold ``train`` and, for the clean problem, ``test``; `store` is what the
    gradients are of, `made` what attributors were given.
    """

    data: Path
    models: Path
    gradients: Path
    count: int
    device: torch.device
    store: Mapping[str, Any] = field(init=False)
    made: dict[str, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read what the store says of itself; raise Infeasible, with the reason, if it was left out."""
        store = load_json(self.gradients / "train" / "store.json")
        if "left_out" in store:
            raise Infeasible(store["left_out"], listed=store["listed"])
        object.__setattr__(self, "store", store)

    def split(self, name: str) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of ``train`` or ``test``."""
        return load_split(self.data / f"{name}.safetensors", self.device)

    @cached_property
    def task(self) -> AttributionTask:
        """Return the task at the trained checkpoints."""
        kind, masks = self.store["checkpoints"], self.store["masks"]
        files = checkpoint_files(self.models, kind, -(-self.count // masks))
        setting = training_record(self.models)["setting"]
        return make_task(setting, self.store["function"], files, masks, self.device)

    def attributor(self, method: Method, arguments: Mapping[str, Any], where: str) -> Attributor:
        """Return the attributor of a recipe, with all that the workflow gives."""
        kind = attributor_class(method, where)
        for name in GIVEN.keys() & takes(kind).keys() - self.made.keys():
            module, _, function = GIVEN[name].make.partition(":")
            self.made[name] = getattr(importlib.import_module(module), function)(self)
        return make_attributor(kind, arguments, self.task, self.made, self.store["form"], where)

    def sources(self, attributor: Attributor, *, tests: bool) -> Iterator[StoredSource]:
        """Yield one source of stored gradients per checkpoint, with the test samples if asked for."""
        splits = ("train", "test") if tests else ("train",)
        samples = {split: batches(*self.split(split)) for split in splits}
        form: tuple[Any, ...] = ()
        if isinstance(attributor, GradientAttributor):
            form = attributor.represent, attributor.train_function
        for index in range(self.count):
            paths = {split: self.gradients / split / f"{index:02d}" for split in splits}
            stores = {s: GradientStore(path, device=self.device) for s, path in paths.items()}
            yield StoredSource(
                attributor.task, index, samples["train"], stores["train"], stores.get("test"),
                samples.get("test", ()), *form,
            )  # fmt: skip


def attributor_class(method: Method, where: str) -> type[Attributor]:
    """Return the class that a recipe names."""
    return find(method.attributor, (Attributor,), f"{where}.attributor")


def tuned(count: int, attributor: Attributor) -> int:
    """Return with how many of a method's checkpoints its damping is chosen: more find nearly the same.

    Two, or one of each ensemble.
    """
    return min(count, max(_TUNED, attributor.ensembles))


def make_attributor(
    kind: type[Attributor],
    arguments: Mapping[str, Any],
    task: AttributionTask,
    made: Mapping[str, Any],
    form: str,
    where: str,
) -> Attributor:
    """Return an attributor from a recipe's arguments and what the workflow made for it.

    On a store whose gradients are projected already, an attributor gets no projection.
    """
    given = {"task": task, **made}
    if form == "projected" and issubclass(kind, GradientAttributor) and "projection" in takes(kind):
        given["projection"] = None
        if "projection" in arguments:
            raise ValueError(f"{where}.projection: its store is projected already; drop one")
    return construct(kind, arguments, given, where)
