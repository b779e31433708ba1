"""From a recipe in params.yaml to an attributor and the stored gradients it works on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from safetensors.torch import load_file, save_file

from headwater import attributors, curvature, solvers
from headwater.attributors.attributor import Attributor
from headwater.attributors.source import StoredSource
from headwater.gradients import GradientStore
from headwater.solvers import Solver, State
from headwater.task import AttributionTask
from stages.problem import batches, checkpoint_files, learning_rates, load_split
from stages.runner import Row
from stages.task import load_task

__all__ = ["MethodRow", "Recipe", "SolverRecipe", "load_states", "open_method", "save_state"]


class SolverRecipe(Row):
    """A solver and its settings."""

    kind: Literal["Explicit", "ConjugateGradient", "Woodbury"]
    damping: float = Field(ge=0)
    max_iterations: int | None = None
    tolerance: float | None = None

    def make(self) -> Solver:
        """Return the solver."""
        arguments = self.model_dump(exclude={"kind"}, exclude_none=True)
        solver: Solver = getattr(solvers, self.kind)(**arguments)
        return solver


class Recipe(Row):
    """A method: an attributor and its parts."""

    attributor: Literal["GradDot", "GradCos", "TracInCP", "InfluenceFunction", "TRAK"]
    solver: SolverRecipe | None = None
    curvature: Literal["Hessian", "EmpiricalFisher", "GaussNewton"] | None = None
    damping: float | None = None


class MethodRow(Row):
    """A method on one problem."""

    setting: str
    model: str
    module: str
    dataset: str
    problem: str
    attributor_module: str
    store: str
    function: str
    checkpoints: Literal["ensemble", "trajectory"]
    count: int
    recipe: Recipe
    curvature: str = ""
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
) -> tuple[Attributor, list[StoredSource]]:
    """Return the attributor of a row and one source of stored gradients a checkpoint.

    Args:
        row: the method.
        data: the training samples.
        models: the trained models.
        train: the stores of the training split.
        test: the stores of the test split, where they are needed.
        test_data: the test samples, where they are needed.
    """
    files = checkpoint_files(models, row.checkpoints, row.count)
    task = load_task(row.setting, row.function, files)
    rates = learning_rates(models, row.count) if row.checkpoints == "trajectory" else []
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
    return make_attributor(row.recipe, task, rates), sources


def make_attributor(recipe: Recipe, task: AttributionTask, rates: Sequence[float]) -> Attributor:
    """Return the attributor that a recipe describes."""
    kind = getattr(attributors, recipe.attributor)
    parts: dict[str, object] = {}
    if recipe.attributor == "TracInCP":
        parts["learning_rates"] = rates
    if recipe.attributor == "TRAK":
        parts = {"projection": None, "damping": recipe.damping or 0.0}
    if recipe.solver is not None:
        parts["solver"] = recipe.solver.make()
        if recipe.curvature not in (None, "Hessian"):
            parts["curvature"] = getattr(curvature, str(recipe.curvature))()
    attributor: Attributor = kind(task, **parts)
    return attributor


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
