"""params.yaml, typed: a bad file is one clear line before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from headwater.settings import SETTINGS
from stages.parts import ATTRIBUTORS
from stages.recipe import ProjectionRecipe, Recipe, SolverRecipe
from stages.runner import Row, describe

__all__ = ["Method", "Params", "SettingParams", "Store", "load_params"]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
_Value = Annotated[float, Field(ge=0)]
_Values = _Value | Annotated[list[_Value], Field(min_length=1)]
Damping = _Values | dict[Name, _Values]
"""A damping, or several to choose from on the tuning samples; may differ by setting."""
WHOLE = ("Hessian", "FullGaussNewton", "SampledGaussNewton", "KFAC", "EKFAC")
"""The curvatures that are not made of the store's own rows."""


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


class Early(Row):
    """Models whose training stops early: how many, and after how many epochs."""

    models: Count
    epochs: Count


class SettingParams(Row):
    """How large one setting of the benchmark is."""

    n_train: Annotated[int, Field(ge=10)]
    n_test: Annotated[int, Field(ge=2)]
    n_tune: Count
    ensemble: Count
    early: Early | None = None
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


class Store(Row):
    """One store of gradients."""

    function: Literal["loss", "margin"]
    form: Literal["factored", "dense", "projected"]
    checkpoints: Literal["ensemble", "early", "trajectory"] = "ensemble"
    dtype: Literal["float32", "float16"] = "float32"
    block: Count | None = None
    models: Count | None = None
    masks: Count = 1
    projection: ProjectionRecipe | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.form == "projected") != (self.projection is not None):
            raise ValueError("form: projected needs a projection, and no other form takes one")
        if self.projection is not None and self.projection.kind == "Arnoldi":
            raise ValueError("Arnoldi is a projection of TRAK's, on a factored store")
        return self

    def trained(self, setting: SettingParams) -> int:
        """Return how many trained models it takes gradients of."""
        available = {
            "ensemble": setting.ensemble,
            "early": setting.early.models if setting.early else 0,
            "trajectory": setting.trajectory,
        }[self.checkpoints]
        return available if self.models is None else min(self.models, available)


class SolverParams(SolverRecipe):
    """A solver with its damping."""

    damping: Damping


class Method(Recipe):
    """A recipe with its damping: what is run on which store."""

    store: Name
    count: Count = 1
    solver: SolverParams | None = None
    damping: Damping | None = None
    only: Annotated[list[Name], Field(min_length=1)] | None = None
    infeasible: dict[Name, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_damping(self) -> Self:
        beside = "damping" in ATTRIBUTORS[self.attributor].needs
        if beside != (self.damping is not None):
            raise ValueError(
                f"{self.attributor} needs a damping" if beside
                else f"{self.attributor} takes no damping of its own"
            )  # fmt: skip
        return self

    def listed(self, setting: str) -> bool:
        """Return whether it has a row in the tables of a setting; without `only`, of all."""
        return self.only is None or setting in self.only

    def runs(self, setting: str) -> bool:
        """Return whether it is run on a setting."""
        return self.listed(setting) and setting not in self.infeasible

    def dampings(self, setting: str) -> list[float]:
        """Return the dampings to choose from on one setting; none where the method has none."""
        found = self.solver.damping if self.solver is not None else self.damping
        chosen = found[setting] if isinstance(found, dict) else found
        if chosen is None:
            return []
        return list(chosen) if isinstance(chosen, list) else [chosen]

    def recipe(self) -> dict[str, Any]:
        """Return the recipe alone, without its damping, as a row carries it."""
        own = dict.fromkeys(Method.model_fields.keys() - Recipe.model_fields.keys(), True)
        return self.model_dump(
            mode="json", exclude={**own, "solver": {"damping"}}, exclude_none=True
        )


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
        for key in (*(method.only or ()), *method.infeasible, *_by_setting(method)):
            if key not in SETTINGS:
                raise ValueError(f"{where} names the setting {key!r}, none of {sorted(SETTINGS)}")
        for key, setting in self.settings.items():
            if not method.runs(key):
                continue
            available = store.trained(setting) * store.masks
            if method.count > available:
                raise ValueError(
                    f"{where}.count must be at most settings.{key}.{store.checkpoints} = {available}, "
                    f"got {method.count}"
                )
            if _by_setting(method) and key not in _by_setting(method):
                raise ValueError(
                    f"{where} must give a damping for {key}, got {_by_setting(method)}"
                )


def _by_setting(method: Method) -> dict[str, Any]:
    damping = method.solver.damping if method.solver is not None else method.damping
    return damping if isinstance(damping, dict) else {}


def _need(store: Store, where: str, method: Method) -> None:
    """Check that the store holds the gradients that the method works on."""
    wanted = method.function
    if wanted is not None and store.function != wanted:
        raise ValueError(f"{where} needs a store of function {wanted}, got {store.function}")
    if method.attributor == "TracInCP" and store.checkpoints != "trajectory":
        raise ValueError(f"{where} needs a store with checkpoints: trajectory")
    projected = store.form == "projected"
    curvature = method.curvature.kind if method.curvature is not None else None
    if projected and (method.projection is not None or curvature in WHOLE):
        raise ValueError(
            f"{where} works on whole gradients, it needs a store that is not projected"
        )
    if not projected and method.attributor == "ProjectedInfluence":
        raise ValueError(f"{where} needs a store of form projected")
    if not projected and method.attributor == "TRAK" and method.projection is None:
        raise ValueError(
            f"{where} needs a store of form projected, or projection: {{kind: Arnoldi}}"
        )
    if method.projection is not None:
        learned = method.projection.kind == "Arnoldi"
        if learned != (method.attributor == "TRAK"):
            raise ValueError(
                f"{where}.projection must be Arnoldi for TRAK (a random one belongs to the store) and a "
                f"random one for DataValueEmbedding, got {method.projection.kind}"
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
