"""What the workflow made of a setting: samples, scores, stores, and what methods chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.settings import get_setting
from headwater.benchmark.settings.setting import Setting
from pipelines.results import metrics_of
from stages.device import resolve_device
from stages.params import Method, Params, Store
from stages.problem import load_split

__all__ = ["Made", "NotMade"]

ARTIFACTS = Path("artifacts")


class NotMade(RuntimeError):
    """Something is not there that a run makes; one line that says with which command."""


@dataclass(frozen=True)
class Made:
    """The artifacts of a setting.

    Raises:
        ValueError: if params.yaml has no such setting, or a method is not one of its.
        NotMade: if something is missing, or a method was left out of this setting.
    """

    name: str
    params: Params

    def __post_init__(self) -> None:
        """Check the name."""
        if self.name not in self.params.settings:
            known = ", ".join(self.params.settings)
            raise ValueError(f"SETTING must be one of {known}, got {self.name!r}: correct the name")

    @cached_property
    def setting(self) -> Setting:
        """The model, the data and the targets."""
        return get_setting(self.params.settings[self.name].setting)

    @cached_property
    def data(self) -> Path:
        """The folder of the samples ``train`` and ``test``."""
        return self._there("data", "clean")

    @cached_property
    def models(self) -> Path:
        """The folder of the trained models."""
        return self._there("models", "clean")

    @cached_property
    def train(self) -> tuple[Tensor, Tensor]:
        """Inputs and labels of the training samples."""
        return load_split(self.data / "train.safetensors", resolve_device("cpu"))

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """Inputs and labels of the test samples."""
        return load_split(self.data / "test.safetensors", resolve_device("cpu"))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The results of all methods by name."""
        return dict(metrics_of(self.name)["methods"])

    def method(self, name: str) -> Method:
        """Return the recipe of a method."""
        if name not in self.params.methods:
            known = ", ".join(self.params.methods)
            raise ValueError(f"METHOD must be one of {known}, got {name!r}: correct the name")
        return self.params.methods[name]

    def store(self, method: str) -> Store:
        """Return the recipe of the store that a method works on."""
        return self.params.stores[self.method(method).store]

    def gradients(self, method: str) -> Path:
        """Return the folder of the store that a method works on."""
        return self._there("gradients", "clean", self.method(method).store)

    def choice(self, method: str) -> dict[str, Any]:
        """Return what stage solve chose: the arguments and the function that is explained."""
        self.method(method)
        found: dict[str, Any] = json.loads(self._there("solve", method, "choice.json").read_text())
        if "left_out" in found:
            able = ", ".join(name for name in self.params.methods if self.is_made(name))
            raise NotMade(
                f"method {method} is left out of {self.name}: {found['left_out']}; methods that were "
                f"made: {able}"
            )
        return found

    def is_made(self, method: str) -> bool:
        """Return whether a method was made, and not left out."""
        path = ARTIFACTS / "solve" / self.name / method / "choice.json"
        return path.is_file() and "left_out" not in json.loads(path.read_text())

    def scores(self, method: str) -> NDArray[np.float32]:
        """Return the scores (n_train, n_test) of a method, mapped from their file."""
        self.choice(method)
        found: NDArray[np.float32] = np.load(
            self._there("scores", method, "scores.npy"), mmap_mode="r"
        )
        return found

    def code(self, method: str) -> Path:
        """Return the file that says which sources a method was computed with."""
        path = ARTIFACTS / "code" / self.name / "solve" / f"{method}.json"
        return self._checked(path)

    def cheapest(self, able: Callable[[str], bool]) -> str | None:
        """Return the method with the fewest checkpoints, then the highest LDS, of those able and made."""
        names = [name for name in self.params.methods if self.is_made(name) and able(name)]
        lds = {name: self.metrics.get(name, {}).get("lds", {}).get("value", -1.0) for name in names}
        return min(names, key=lambda n: (self.method(n).count, -lds[n], n), default=None)

    def _there(self, kind: str, *parts: str) -> Path:
        return self._checked(ARTIFACTS.joinpath(kind, self.name, *parts))

    def _checked(self, path: Path) -> Path:
        if not path.exists():
            raise NotMade(
                f"{path} must be there, and is not: make it with headwater run {self.name}, or fetch it "
                f"with dvc pull {path}"
            )
        return path
