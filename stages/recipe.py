"""A recipe: an attributor and its parts, as params.yaml writes it and as a row carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from stages.parts import ATTRIBUTORS, CURVATURES, PROJECTIONS, SOLVERS, Takes
from stages.runner import Row

__all__ = ["CurvatureRecipe", "Part", "ProjectionRecipe", "Recipe", "SolverRecipe"]

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class Part(Row):
    """A part of a method: its kind, and settings that this kind takes."""

    kind: str

    @classmethod
    def table(cls) -> Mapping[str, Takes]:
        """Return the known kinds."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_takes(self.kind, self.table(), given(self) - {"kind", "damping"})
        return self

    def settings(self) -> dict[str, Any]:
        """Return the settings that were given, without the kind."""
        return self.model_dump(mode="json", exclude={"kind", "damping"}, exclude_none=True)


class SolverRecipe(Part):
    """A solver and its settings, but for the damping."""

    max_iterations: Count | None = None
    tolerance: Annotated[float, Field(ge=0)] | None = None
    rank: Count | None = None
    residual: bool | None = None
    scale: Positive | None = None
    depth: Count | None = None
    batch_size: Count | None = None
    repeats: Count | None = None
    seed: int | None = None

    @classmethod
    def table(cls) -> Mapping[str, Takes]:
        """Return the known solvers."""
        return SOLVERS


class CurvatureRecipe(Part):
    """A curvature and its settings."""

    labels: Literal["sampled", "empirical"] | None = None
    draws: Count | None = None
    classes: Count | None = None
    seed: int | None = None

    @classmethod
    def table(cls) -> Mapping[str, Takes]:
        """Return the known curvatures."""
        return CURVATURES


class ProjectionRecipe(Part):
    """A projection and its settings."""

    seed: int = 0
    dimension: Count | None = None
    dimension_in: Count | None = None
    dimension_out: Count | None = None
    nonzeros: Count | None = None
    blowup: Count | None = None

    @classmethod
    def table(cls) -> Mapping[str, Takes]:
        """Return the known projections."""
        return PROJECTIONS


class Recipe(Row):
    """An attributor and its parts, but for the damping."""

    attributor: str
    solver: SolverRecipe | None = None
    curvature: CurvatureRecipe | None = None
    projection: ProjectionRecipe | None = None
    norm: Literal["loss", "parameters"] | None = None
    blocks: Count | None = None
    soft_threshold: Positive | None = None
    neighbours: Count | None = None
    normalize: bool | None = None
    fit: Literal["labels", "predictions"] | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        found = given(self) & RECIPE
        check_takes(self.attributor, ATTRIBUTORS, found)
        if self.solver is not None and self.curvature is not None:
            on, kind = SOLVERS[self.solver.kind].on, self.curvature.kind
            if on and kind not in on:
                raise ValueError(f"{self.solver.kind} goes with {sorted(on)}, got {kind}")
        return self

    def settings(self) -> dict[str, Any]:
        """Return the settings of the attributor that were given, without its parts."""
        return {key: getattr(self, key) for key in sorted(given(self) & (RECIPE - PARTS))}

    @property
    def function(self) -> str | None:
        """The function whose gradients it works on: loss, margin, or None for either."""
        on = (
            CURVATURES[self.curvature.kind] if self.curvature else ATTRIBUTORS[self.attributor]
        ).on
        return next(iter(on), None)

    @property
    def damped(self) -> bool:
        """Whether it has a damping."""
        return self.solver is not None or "damping" in ATTRIBUTORS[self.attributor].needs


PARTS = frozenset({"solver", "curvature", "projection"})
RECIPE = frozenset(Recipe.model_fields) - {"attributor"}


def given(row: Row) -> frozenset[str]:
    """Return the names of the fields that are not None."""
    return frozenset(name for name in type(row).model_fields if getattr(row, name) is not None)


def check_takes(kind: str, table: Mapping[str, Takes], found: frozenset[str]) -> None:
    """Raise ValueError unless a kind is known, has what it needs, and nothing that it does not take."""
    if kind not in table:
        raise ValueError(f"{kind!r} is unknown, the known ones are {sorted(table)}")
    takes = table[kind]
    if missing := takes.needs - found - {"damping"}:  # which stands beside the recipe
        raise ValueError(f"{kind} needs {' and '.join(sorted(missing))}")
    if extra := found - takes.needs - takes.may:
        raise ValueError(f"{kind} takes no {' and no '.join(sorted(extra))}")
