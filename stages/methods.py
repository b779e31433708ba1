"""From a recipe in params.yaml to an attributor and the stored gradients it works on."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file

from headwater import attributors, curvature, solvers
from headwater.attributors.attributor import Attributor
from headwater.attributors.source import StoredSource
from headwater.gradients import GradientStore
from headwater.solvers import State
from headwater.task import AttributionTask
from stages.parts import ATTRIBUTORS
from stages.problem import batches, checkpoint_files, learning_rates, load_split
from stages.projection import make_projection
from stages.recipe import Recipe
from stages.runner import Row
from stages.task import load_task

__all__ = ["MethodRow", "damping_of", "load_states", "open_method", "save_state"]

UNDAMPED = 1.0
"""Stands for the damping where it plays no part: in what is prepared, and in sums of what was solved."""


class MethodRow(Row):
    """A method on one problem."""

    setting: str
    model: str
    module: str
    dataset: str
    problem: str
    attributor_module: str
    code: tuple[str, ...]
    seed: int
    store: str
    function: str
    checkpoints: Literal["ensemble", "early", "trajectory"]
    count: int
    masks: int
    recipe: Recipe
    curvature: str = ""
    tuned: str = ""
    damping: float | None = None
    dampings: tuple[float, ...] = ()
    n_tune: int = 0
    solved: str = ""
    method: str = ""
    name: str = ""
    priority: int = 0


def open_method(
    row: MethodRow,
    data: Path,
    models: Path,
    train: Path,
    test: Path | None = None,
    test_data: Path | None = None,
    damping: float | None = None,
) -> tuple[Attributor, list[StoredSource]]:
    """Return the attributor of a row and one source of stored gradients a checkpoint.

    Args:
        row: the method.
        data: the training samples.
        models: the trained models.
        train: the stores of the training split.
        test: the stores of the test split, where they are needed.
        test_data: the test samples, where they are needed.
        damping: of the method, where it has one and what is computed depends on it.
    """
    files = checkpoint_files(models, row.checkpoints, -(-row.count // row.masks))
    task = load_task(row.setting, row.function, files, row.masks)
    samples = batches(*load_split(data))
    test_samples = [] if test_data is None else batches(*load_split(test_data))
    sources = [
        StoredSource(
            task,
            index,
            samples,
            GradientStore(train / f"{index:02d}"),
            None if test is None else GradientStore(test / f"{index:02d}"),
            test_samples,
        )
        for index in range(row.count)
    ]
    parts: dict[str, Any] = {}
    if row.recipe.attributor == "TracInCP":
        parts["learning_rates"] = learning_rates(models, row.count)
    if row.recipe.attributor in ("Unrolling", "DataValueEmbedding"):
        # By name: the other methods do not depend on how models are trained.
        find = importlib.import_module("stages.runs").training_runs
        parts = find(row.setting, *load_split(data), row.seed, row.count)
        if row.recipe.attributor == "DataValueEmbedding":
            parts = {"steps": parts["runs"][0]}
    return make_attributor(row.recipe, task, damping, parts), sources


def make_attributor(
    recipe: Recipe, task: AttributionTask, damping: float | None, given: Mapping[str, object]
) -> Attributor:
    """Return the attributor that a recipe describes, with the parts that are given."""
    parts: dict[str, object] = {**recipe.settings(), **given}
    value = UNDAMPED if damping is None else damping
    if recipe.solver is not None:
        kind = getattr(solvers, recipe.solver.kind)
        parts["solver"] = kind(damping=value, **recipe.solver.settings())
    if recipe.curvature is not None:
        name = {"Hessian": "ExactHessian"}.get(recipe.curvature.kind, recipe.curvature.kind)
        parts["curvature"] = getattr(curvature, name)(**recipe.curvature.settings())
    if "damping" in ATTRIBUTORS[recipe.attributor].needs:
        parts["l2" if recipe.attributor == "RPS" else "damping"] = value
    if recipe.attributor in ("TRAK", "ProjectedInfluence", "DataValueEmbedding"):
        parts["projection"] = make_projection(recipe.projection)  # None: the store's are projected
    attributor: Attributor = getattr(attributors, recipe.attributor)(task, **parts)
    return attributor


def damping_of(row: MethodRow, tuned: Path) -> float | None:
    """Return the damping of a row: its own, or the one that was chosen on the tuning samples."""
    if row.damping is not None or not row.recipe.damped:
        return row.damping
    return float(json.loads(tuned.read_text())["damping"])


def save_state(folder: Path, index: int, state: State) -> None:
    """Write what was computed for one checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: t.contiguous() for k, t in state.items()}, folder / f"{index:02d}.safetensors")


def load_states(folder: Path, count: int) -> list[State] | None:
    """Read what was computed for each checkpoint; None if the folder holds gradients instead."""
    files = [folder / f"{index:02d}.safetensors" for index in range(count)]
    if not files[0].exists():
        return None
    return [load_file(file) for file in files]
