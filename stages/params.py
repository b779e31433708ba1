"""params.yaml, typed: a bad file is one clear line before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from headwater.settings import SETTINGS
from stages.runner import Row, describe

__all__ = ["Method", "Params", "SettingParams", "Store", "load_params"]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class GroundTruth(Row):
    """What is retrained."""

    subsets: Annotated[int, Field(ge=3)]
    fraction: Fraction
    repeats: Annotated[int, Field(ge=2)]
    leave_one_out: Annotated[int, Field(ge=0)]


class Noisy(Row):
    """The problem with flipped labels."""

    n_train: Annotated[int, Field(ge=10)]
    fraction: Fraction


class SettingParams(Row):
    """How large one setting of the benchmark is."""

    n_train: Annotated[int, Field(ge=10)]
    n_test: Annotated[int, Field(ge=2)]
    n_tune: Count
    ensemble: Count
    trajectory: Annotated[int, Field(ge=0)]
    ground_truth: GroundTruth
    noisy: Noisy

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n_tune >= self.n_test:
            raise ValueError(f"n_tune must be below n_test = {self.n_test}, got {self.n_tune}")
        if self.ground_truth.leave_one_out > self.n_train:
            raise ValueError(f"leave_one_out must be at most n_train = {self.n_train}")
        return self


class ProjectionParams(Row):
    """A random projection."""

    kind: Literal["Rademacher", "Gaussian"]
    dimension: Count
    seed: int


class Store(Row):
    """One store of gradients."""

    function: Literal["loss", "margin"]
    form: Literal["factored", "dense", "projected"]
    checkpoints: Literal["ensemble", "trajectory"] = "ensemble"
    dtype: Literal["float32", "float16"] = "float32"
    block: Count | None = None
    projection: ProjectionParams | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.form == "projected") != (self.projection is not None):
            raise ValueError("form: projected needs a projection, and no other form takes one")
        return self


class SolverParams(Row):
    """A solver; the damping may differ by setting."""

    kind: Literal["Explicit", "ConjugateGradient", "Woodbury"]
    damping: Annotated[float, Field(ge=0)] | dict[Name, Annotated[float, Field(ge=0)]]
    max_iterations: Count | None = None
    tolerance: Annotated[float, Field(ge=0)] | None = None


class Method(Row):
    """A recipe: what is run on which store."""

    attributor: Literal["GradDot", "GradCos", "TracInCP", "InfluenceFunction", "TRAK"]
    store: Name
    count: Count = 1
    solver: SolverParams | None = None
    curvature: Literal["Hessian", "EmpiricalFisher", "GaussNewton"] | None = None
    damping: Annotated[float, Field(ge=0)] | dict[Name, Annotated[float, Field(ge=0)]] | None = None
    infeasible: dict[Name, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        influence = self.attributor == "InfluenceFunction"
        if influence != (self.solver is not None and self.curvature is not None):
            raise ValueError(
                "InfluenceFunction needs solver and curvature, no other attributor does"
            )
        if (self.damping is not None) != (self.attributor == "TRAK"):
            raise ValueError("damping beside the attributor belongs to TRAK, which needs it")
        if self.solver is not None:
            if (self.solver.kind == "Woodbury") == (self.curvature == "Hessian"):
                raise ValueError(
                    "Woodbury goes with EmpiricalFisher or GaussNewton, the other solvers with Hessian"
                )
            cg = self.solver.kind == "ConjugateGradient"
            if not cg and (self.solver.max_iterations or self.solver.tolerance):
                raise ValueError("max_iterations and tolerance belong to ConjugateGradient")
        return self


class Metrics(Row):
    """How the metrics are computed."""

    bootstrap: Annotated[int, Field(ge=10)]
    confidence: Fraction


class Params(Row):
    """The whole of params.yaml."""

    seed: int
    settings: Annotated[dict[Name, SettingParams], Field(min_length=1)]
    stores: dict[Name, Store]
    methods: Annotated[dict[Name, Method], Field(min_length=1)]
    metrics: Metrics

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.settings:
            if name not in SETTINGS:
                raise ValueError(
                    f"settings.{name} is unknown, the known ones are {sorted(SETTINGS)}"
                )
        for name, method in self.methods.items():
            self._check_method(name, method)
        return self

    def _check_method(self, name: str, method: Method) -> None:
        where = f"methods.{name}"
        if method.store not in self.stores:
            raise ValueError(f"{where}.store {method.store!r} is none of {sorted(self.stores)}")
        store = self.stores[method.store]
        _need(store, where, method)
        for key in (*method.infeasible, *_by_setting(method)):
            if key not in SETTINGS:
                raise ValueError(f"{where} names the setting {key!r}, none of {sorted(SETTINGS)}")
        for key, setting in self.settings.items():
            if key in method.infeasible:
                continue
            available = getattr(setting, store.checkpoints)
            if method.count > available:
                raise ValueError(
                    f"{where}.count must be at most settings.{key}.{store.checkpoints} = {available}, "
                    f"got {method.count}"
                )
            if _by_setting(method) and key not in _by_setting(method):
                raise ValueError(
                    f"{where} must give a damping for {key}, got {_by_setting(method)}"
                )


def _by_setting(method: Method) -> dict[str, float]:
    damping = method.solver.damping if method.solver is not None else method.damping
    return damping if isinstance(damping, dict) else {}


def _need(store: Store, where: str, method: Method) -> None:
    """Check that the store holds the gradients that the method works on."""
    margin = method.attributor == "TRAK" or method.curvature == "GaussNewton"
    wanted = "margin" if margin else "loss"
    if store.function != wanted:
        raise ValueError(f"{where} needs a store of function {wanted}, got {store.function}")
    if method.attributor == "TracInCP" and store.checkpoints != "trajectory":
        raise ValueError(f"{where} needs a store with checkpoints: trajectory")
    if method.curvature == "Hessian" and store.form == "projected":
        raise ValueError(
            f"{where} multiplies by the Hessian, it needs a store that is not projected"
        )


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises:
        ValueError: if anything in it is wrong, in one line.
    """
    try:
        return Params.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        raise ValueError(f"{path}: {describe(error)}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path} must be YAML: {' '.join(str(error).split())}") from None
