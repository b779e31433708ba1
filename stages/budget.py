"""What every stage of a setting takes, counted before any runs, and what the budget leaves out.

All figures follow from params.yaml, the models and the code, none from the machine: the same stores and
methods are left out everywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from headwater.attributors.attributor import Attributor
from headwater.benchmark.plan import Footprint, Training, footprint, training_of
from headwater.gradients.store_writer import CAPTURED_BYTES
from headwater.memory import Cost, Sizes
from headwater.projections import GradientProjection
from stages.files import WORK, load_json, save_json
from stages.methods import GIVEN, attributor_class, make_attributor, tuned
from stages.params import TARGETS, Method, Params, Setting, Store
from stages.recipes import takes
from stages.task import make_projection, make_task

__all__ = ["Needs", "plan_setting"]

PROCESS = 30 * 10**6
"""Bytes of a stage beside all that is counted: what its libraries take when they work."""
EVALUATED = 500.0
"""Operations of the metrics for each resample, subset, test sample and method."""


@dataclass(frozen=True)
class Needs:
    """What one run of a stage takes.

    Args:
        stage: its name.
        key: the store or method; of train and retrain, which of them.
        problem: whose gradients: "clean", "noisy" or "test".
        disk: bytes that it writes.
        memory: bytes at its peak.
        operations: multiplications and additions,
        passes: of these, how many in forward and backward passes of the model.
        steps: steps of training, which all cores share.
        captures: checkpoints and samples whose gradients are captured.
        over: why the budget leaves it out.
        advice: what to change then.
        left_out: why it is not made, by the budget or as params.yaml says.
    """

    stage: str
    key: str = ""
    problem: str = ""
    disk: float = 0.0
    memory: float = PROCESS
    operations: float = 0.0
    passes: float = 0.0
    steps: int = 0
    captures: tuple[int, int] = (0, 0)
    over: str = ""
    advice: str = ""
    left_out: str = ""


def plan_setting(name: str, params: Params, sources: str) -> list[Needs]:
    """Return what the stages of a setting take, in the order in which they run.

    What was counted on its model is kept in files, for as long as its `sources`, a hash, stay the same.
    """
    return list(_Plan(name, params, WORK / "plan" / name / sources).stages())


@dataclass(frozen=True)
class _Plan:
    """The stages of one setting."""

    name: str
    params: Params
    known: Path  # where the figures of its model are

    @property
    def setting(self) -> Setting:
        """Its sizes."""
        return self.params.settings[self.name]

    @cached_property
    def training(self) -> Training:
        """What training takes."""
        return Training(**self._remembered("training", training_of, self.setting.setting))

    def stages(self) -> Iterator[Needs]:
        """Yield what one stage after the other takes."""
        data, params = self.setting.data, self.params
        samples = data.n_train + data.n_test + data.noisy.n_train
        yield Needs("data", disk=samples * self.training.sample)
        yield self._train("clean", data.n_train)
        yield self._train("noisy", data.noisy.n_train)
        yield from self._retrained()
        stores = {key: [*self._store(key, store)] for key, store in params.stores.items()}
        for needs in stores.values():
            yield from needs
        for key, method in params.methods.items():
            yield from self._method(key, method, stores[method.store][0].left_out)
        work = params.metrics.bootstrap * data.n_test * self.setting.truth.subsets
        yield Needs("evaluate", operations=EVALUATED * work * len(params.methods))
        yield Needs("report")

    def _train(self, problem: str, n: int) -> Needs:
        end, last = self.training.epochs, dict[int, set[int]]()
        for family in self.setting.train.values():
            for run in range(family.runs):
                last.setdefault(run, set()).update(end if e < 0 else e for e in family.epochs)
        steps = sum(self.training.steps(n, max(epochs)) for epochs in last.values())
        disk = sum(map(len, last.values())) * self.training.state
        return Needs("train", problem, "", disk, self._fitted(n), steps=steps)

    def _fitted(self, n: int) -> float:
        """Return the memory of one training process: samples, state, gradient, moments and copies."""
        return PROCESS + n * self.training.sample + 6 * self.training.state

    def _retrained(self) -> Iterator[Needs]:
        truth, n, training = self.setting.truth, self.setting.data.n_train, self.training
        models, m = truth.subsets * truth.repeats, self.setting.data.n_test
        steps, memory = models * training.steps(round(n * truth.fraction)), self._fitted(n)
        yield Needs("retrain", "subsets", "", models * training.state, memory, steps=steps)
        single = truth.leave_one_out and truth.leave_one_out + 1
        work = single * n * training.epochs * training.pass_
        memory += 3 * min(single * training.state, 2**28)
        yield Needs("retrain", "leave-one-out", "", single * training.state, memory, work, work)
        models += single
        disk = len(TARGETS) * 4 * models * m + truth.subsets * n
        memory = PROCESS + m * training.sample + training.state
        work = models * m * training.pass_ / 3
        yield Needs("truth", "", "", disk, memory, work, work)

    def _store(self, key: str, store: Store) -> Iterator[Needs]:
        if reason := _reason(store, self.name):
            yield Needs("gradients", key, left_out=reason)
            return
        data, found = self.setting.data, self._footprint(store)
        count = store.trained(self.setting.train) * store.masks
        samples = {"clean": data.n_train, "noisy": data.noisy.n_train, "test": data.n_test}
        made = []
        for problem, n in samples.items():
            block = min(store.block or found.block, n)
            disk = count * -(-n // block) * block * found.kept  # the last block's file is whole
            captured = min(block * found.captured, CAPTURED_BYTES)
            held = captured * (1 + found.passed / found.captured) + 2 * block * found.kept
            memory = PROCESS + self.training.state + n * self.training.sample + held
            made.append(Needs("gradients", key, problem, disk, memory, captures=(count, n)))
        block = min(store.block or found.block, data.n_train)
        over, advice = self._over_store(made, count, block)
        yield from (replace(needs, over=over, advice=advice, left_out=over) for needs in made)

    def _over_store(self, made: list[Needs], count: int, block: int) -> tuple[str, str]:
        budget = self.params.budget
        disk, memory = sum(n.disk for n in made), max(n.memory for n in made)
        if budget is None:
            return "", ""
        if disk > budget.disk:
            fits = math.floor(count * budget.disk / disk)
            advice = f"models: {fits}" if fits else "form: projected"
            return _needs(f"{size(disk)} on disk", size(budget.disk)), f"{advice}, or more disk"
        if memory > budget.memory:
            advice = f"block: {max(1, math.floor(block * budget.memory / memory / 2))}"
            return _needs(f"{size(memory)} of memory", size(budget.memory)), advice
        return "", ""

    def _method(self, key: str, method: Method, missing: str) -> Iterator[Needs]:
        store = self.params.stores[method.store]
        if reason := _reason(method, self.name) or (missing and f"store {method.store} {missing}"):
            yield Needs("solve", key, left_out=reason)
            return
        attributors, passed = self._attributors(key, method, store), self.training.pass_
        solve, score = self._solve_and_score(key, method, attributors, passed)
        work = max(solve.operations, score.operations)
        over, advice = self._over_method(max(solve.memory, score.memory), work)
        others = self._solve_and_score(key, method, attributors, 0.0)
        for needs, other in zip((solve, score), others, strict=True):
            passes = needs.operations - other.operations
            yield replace(needs, passes=passes, over=over, advice=advice, left_out=over)

    def _solve_and_score(
        self, key: str, method: Method, attributors: list[Attributor], passed: float
    ) -> tuple[Needs, Needs]:
        """Return what both stages take if a pass of a sample has `passed` operations."""
        store, data = self.params.stores[method.store], self.setting.data
        found = self._footprint(store, attributors[0])
        cost = partial(self._cost, attributors[0], found, passed)
        whole, prepared = cost(data.n_train, data.n_test), cost(data.n_train, 0)
        several = len(attributors) * (len(attributors) > 1)
        again = several * (cost(data.n_train, self.setting.n_tune).operations - prepared.operations)
        work = method.count * whole.operations + tuned(method.count, attributors[0]) * again
        # What is prepared for the second model that chooses a damping is kept beside the first.
        memory = (1.4 if several and method.count > 1 else 1.0) * whole.memory
        memory += self._held(found, data.n_train, data.n_test)
        scores, noisy = 4.0 * data.n_train * data.n_test, cost(*(2 * [data.noisy.n_train]))
        mapped = self._held(found, method.count * data.n_train / 2, 0)  # all checkpoints' files
        scoring = max(
            self._held(found, data.noisy.n_train, 0) + noisy.memory,
            mapped + 2 * scores + whole.kept,
        )
        own = method.count * noisy.operations
        return (
            Needs("solve", key, "", method.count * whole.kept, memory, work),
            Needs("score", key, "", scores, scoring, own),
        )

    def _over_method(self, memory: float, work: float) -> tuple[str, str]:
        budget = self.params.budget
        if budget is None:
            return "", ""
        if memory > budget.memory:
            found = _needs(f"{size(memory)} of memory", size(budget.memory))
            return found, "another solver, fewer samples, or more memory"
        minutes = work / (budget.gflops * 6e10)
        if minutes > budget.minutes:
            found = _needs(f"{minutes:,.0f} minutes", f"{budget.minutes:g}")
            return found, "fewer test samples, checkpoints or iterations, or more minutes"
        return "", ""

    def _attributors(self, key: str, method: Method, store: Store) -> list[Attributor]:
        """Return the attributor of each damping, on models without numbers."""
        where, nowhere = f"methods.{key}", torch.device("meta")
        kind = attributor_class(method, where)
        given = GIVEN.keys() & takes(kind).keys()
        made = {argument: GIVEN[argument].blank(method.count) for argument in given}
        trained = -(-method.count // store.masks)
        task = make_task(self.setting.setting, store.function, trained, store.masks, nowhere)
        return [
            make_attributor(kind, arguments, task, made, store.form, where)
            for arguments in method.candidates(self.name, where)
        ]

    def _footprint(self, store: Store, attributor: Attributor | None = None) -> Footprint:
        parts = make_projection(store, "store"), getattr(attributor, "projection", None)
        projections = tuple(part for part in parts if isinstance(part, GradientProjection))
        dense, name = store.form == "dense", self.setting.setting
        given = name, store.function, projections, dense, store.dtype
        return Footprint(**self._remembered("footprint", footprint, *given))

    def _remembered(self, what: str, count: Callable[..., Any], *given: object) -> dict[str, Any]:
        """Return what is counted, from a file if there is one: large models take a while."""
        path = self.known / f"{what}-{hashlib.sha256(repr(given).encode()).hexdigest()[:16]}.json"
        if not path.exists():
            save_json(path, asdict(count(*given)))
        return dict(load_json(path))

    def _cost(
        self, attributor: Attributor, found: Footprint, passed: float, n: int, m: int
    ) -> Cost:
        seen = n * self.training.epochs
        return attributor.cost(Sizes(n, m, found.numbers, found.pair, passed, seen))

    def _held(self, found: Footprint, n: float, m: int) -> float:
        """Return bytes of samples, model and gradients, as many of these as are held at a time."""
        budget = self.params.budget
        most = budget.memory / 4 if budget is not None else math.inf
        gradients = min(most, 2 * n * found.kept) + m * found.kept
        return PROCESS + (n + m) * self.training.sample + self.training.state + gradients


def size(count: float) -> str:
    """Return a number of bytes in words.

    Example:
        >>> size(48e9), size(1.5e12), size(2_340_000)
        ('48 GB', '1,500 GB', '2.3 MB')
    """
    unit, name = next(
        ((u, s) for u, s in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if count >= u), (1, "B")
    )
    amount = count / unit
    return f"{amount:.1f} {name}" if amount < 10 and unit > 1 else f"{amount:,.0f} {name}"


def _needs(needed: str, has: str) -> str:
    return f"needs {needed}, the budget has {has}"


def _reason(thing: Store | Method, setting: str) -> str:
    """Return why params.yaml leaves a store or a method out."""
    if thing.feasible(setting):
        return ""
    return thing.infeasible.get(setting, f"only for {', '.join(thing.only or ())}")
