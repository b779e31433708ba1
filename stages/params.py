"""The types of what params.yaml holds. The arguments of parts are left to their constructors."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from headwater.benchmark.recipes import END
from headwater.memory import parse_budget
from stages.files import load_json
from stages.recipes import choices
from stages.row import Count, Fraction, Name, Pattern, Row

__all__ = [
    "Budget", "Data", "Device", "Family", "Infeasible", "Method", "Metrics", "OVER_BUDGET", "Params",
    "Removal", "Setting", "Store", "TARGETS", "Train", "Truth", "over_budget",
]  # fmt: skip

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda)$")]
TARGETS = ("loss", "margin")
"""The functions that are explained: those of stores, and of the ground truth."""
OVER_BUDGET = "budget of "
"""What the entry begins with by which stage `code` says that a run is left out."""


class Infeasible(Exception):
    """What was asked for is left out on this setting; `listed` says whether tables show why."""

    def __init__(self, reason: str, *, listed: bool = True) -> None:
        super().__init__(reason)
        self.listed = listed

    def record(self) -> dict[str, Any]:
        """Return what a stage writes in place of its work."""
        return {"left_out": str(self), "listed": self.listed}


def over_budget(code: Path) -> str:
    """Return why the budget leaves a run out, of what stage `code` wrote for it; "" if it does not."""
    return "".join(v for k, v in load_json(code).items() if k.startswith(OVER_BUDGET))


class Feasible(Row):
    """A store or a method that may be left out on some settings; `only` holds patterns: ``mnist-*``."""

    only: Annotated[list[Pattern], Field(min_length=1)] | None = None
    infeasible: dict[Name, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_dimension(self) -> Self:
        projection = getattr(self, "projection", None)
        if isinstance(projection, dict) and projection.get("dimension") == "auto":
            raise ValueError(
                "a projection in a workflow needs its dimension as a number, got 'auto'"
            )
        return self

    def check_feasible(self, setting: str, over: str) -> None:
        """Raise Infeasible, with the reason, where this is not made for a setting.

        Args:
            setting: its name.
            over: why the budget leaves it out; "": it does not.
        """
        if not self._named(setting):
            raise Infeasible(f"only for {', '.join(self.only or ())}", listed=False)
        if setting in self.infeasible:
            raise Infeasible(self.infeasible[setting])
        if over:
            raise Infeasible(over)

    def feasible(self, setting: str) -> bool:
        """Return whether this is made for a setting."""
        return setting not in self.infeasible and self._named(setting)

    def _named(self, setting: str) -> bool:
        return self.only is None or any(fnmatch(setting, pattern) for pattern in self.only)


class Noisy(Row):
    """The problem with flipped labels."""

    n_train: Annotated[int, Field(ge=10)]
    fraction: Fraction


class Data(Row):
    """How many samples of the data set are used."""

    n_train: Annotated[int, Field(ge=10)]
    n_test: Annotated[int, Field(ge=2)]
    noisy: Noisy


class Family(Row):
    """Checkpoints that are used together: the first runs, each after some epochs (-1: the end)."""

    runs: Count
    epochs: Annotated[list[int], Field(min_length=1, default_factory=lambda: [END])]

    def __len__(self) -> int:
        """Return how many checkpoints there are."""
        return self.runs * len(self.epochs)


Train = dict[Name, Family]
"""Which models are trained, for attribution only. Run i is the same training in every family."""


class Truth(Row):
    """What is retrained, or taken from truth/SETTING where `committed` is the digest of that folder."""

    subsets: Annotated[int, Field(ge=3)]
    fraction: Fraction
    repeats: Annotated[int, Field(ge=2)]
    leave_one_out: Annotated[int, Field(ge=0)] = 0
    committed: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None


class Removal(Row):
    """What is retrained without the samples ranked highest for a query; without queries nothing.

    `largest` and `precision` are shares of the training samples: how many are removed at most to flip a
    prediction (0: nobody tries), and how closely the smallest number is found.
    """

    queries: Annotated[int, Field(ge=0)] = 0
    methods: list[Name] = Field(default_factory=list)
    fractions: list[Fraction] = Field(default_factory=list)
    repeats: Count = 2
    largest: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Fraction = 0.01

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.queries and not (self.methods and self.fractions):
            raise ValueError(
                f"removal for {self.queries} queries needs methods and fractions, got none: name some, "
                "or ask for 0 queries"
            )
        if self.fractions != sorted(set(self.fractions)):
            raise ValueError(f"fractions must ascend, got {self.fractions}")
        return self


class Setting(Row):
    """How large one setting of the benchmark is, and where it is computed.

    `setting` names its model, data set and training: one of ours, or an import path.
    """

    setting: str
    device: Device
    data: Data
    train: Annotated[Train, Field(min_length=1)]
    truth: Truth
    n_tune: Count
    removal: Removal

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n_tune >= self.data.n_test:
            raise ValueError(f"n_tune must be below n_test = {self.data.n_test}, got {self.n_tune}")
        if self.truth.leave_one_out > self.data.n_train:
            raise ValueError(f"leave_one_out must be at most n_train = {self.data.n_train}")
        if self.removal.queries > self.data.n_test - self.n_tune:
            raise ValueError(
                f"removal.queries must be at most the {self.data.n_test - self.n_tune} test samples that "
                f"are reported, got {self.removal.queries}"
            )
        for share in self.removal.fractions:
            if round(share * self.data.n_train) < 1:
                raise ValueError(f"removal.fractions must remove 1 sample or more, got {share}")
        return self


class Store(Feasible):
    """One store of gradients: factored as they are captured, dense as vectors, or projected."""

    function: Literal["loss", "margin"]
    form: Literal["factored", "dense", "projected"]
    checkpoints: Name = "ensemble"
    models: Count | None = None
    masks: Count = 1
    dtype: Literal["float32", "float16"] = "float32"
    block: Count | None = None
    projection: str | dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.form == "projected") != (self.projection is not None):
            raise ValueError("form: projected needs a projection, and no other form takes one")
        return self

    def trained(self, train: Train) -> int:
        """Return how many trained models it takes gradients of."""
        available = len(train[self.checkpoints]) if self.checkpoints in train else 0
        return available if self.models is None else min(self.models, available)


class Method(Feasible):
    """A recipe: an attributor, what its constructor takes, and the store it works on."""

    model_config = ConfigDict(extra="allow", frozen=True)

    attributor: str
    store: Name
    count: Count = 1

    def candidates(self, setting: str, where: str) -> list[dict[str, Any]]:
        """Return the constructor's arguments, one for each damping to choose from on a setting."""
        return choices(dict(self.model_extra or {}), setting, where)


class Metrics(Row):
    """How the metrics are computed."""

    bootstrap: Annotated[int, Field(ge=10)]
    confidence: Fraction


Bytes = Annotated[int, BeforeValidator(parse_budget)]
"""A number of bytes, or one with a unit."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Budget(Row):
    """What stores and methods may take; those that need more are left out, with the figures.

    `memory` and `minutes` are for each stage, `disk` for each store with all its checkpoints and samples.
    Operations become minutes at a nominal rate, `gflops`, so that all machines leave out the same.
    """

    memory: Bytes
    disk: Bytes
    minutes: Positive
    gflops: Positive


class Params(Row):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    benchmark: Annotated[list[Name], Field(min_length=1)]
    settings: Annotated[dict[Name, Setting], Field(min_length=1)]
    stores: dict[Name, Store]
    methods: Annotated[dict[Name, Method], Field(min_length=1)]
    metrics: Metrics
    budget: Budget | None = None
