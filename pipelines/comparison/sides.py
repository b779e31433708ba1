"""The two sides of a comparison: a folder of results, or a git revision."""

from __future__ import annotations

import io
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.results import metrics_of, reported

__all__ = ["Folder", "Revision", "Side", "side"]


class Side(Protocol):
    """Results by setting, and scores where they are at hand."""

    name: str

    def settings(self) -> list[str]:
        """Return the settings with results."""

    def metrics(self, setting: str) -> dict[str, Any]:
        """Return what stage report said of a setting."""

    def scores(self, setting: str, method: str) -> tuple[NDArray[np.float32], str]:
        """Return the scores (n_train, n_test) of a method, and the function that they explain."""


def side(name: str) -> Side:
    """Return the folder of results, or the git revision, with a name; a folder comes first.

    Raises:
        RepositoryError: it is neither.
        FileNotFoundError: the folder has no results.
    """
    return Folder(Path(name)) if Path(name).is_dir() else Revision(name)


class Folder:
    """A folder of results, with the artifacts beside it; or the project that holds both."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._results = path / "results" if (path / "results").is_dir() else path
        self.settings()  # there must be some

    def settings(self) -> list[str]:
        """Return the settings with results."""
        return reported(self._results)

    def metrics(self, setting: str) -> dict[str, Any]:
        """Return what stage report said of a setting."""
        return metrics_of(setting, self._results)

    def scores(self, setting: str, method: str) -> tuple[NDArray[np.float32], str]:
        """Return the scores of a method, and the function that they explain."""
        folder = self._results.resolve().parent / "artifacts" / "scores" / setting / method
        if not (folder / "scores.npy").is_file():
            raise FileNotFoundError(
                f"scores of {method} must be beside {self._results}, found none: make them with "
                f"headwater run {setting}, or compare the metrics alone, without --method"
            )
        function = json.loads((folder / "choice.json").read_text())["function"]
        return np.load(folder / "scores.npy", mmap_mode="r"), str(function)


class Revision:
    """The project at a git revision; its artifacts come from DVC's cache or remote."""

    def __init__(self, name: str) -> None:
        from pipelines import repository

        self.name, self._read = name, repository.read
        self._files = repository.revision(name)

    def settings(self) -> list[str]:
        """Return the settings with results."""
        return list(self._settings)

    @cached_property
    def _settings(self) -> list[str]:
        found = sorted(
            Path(path).parent.name for path in self._files.glob("results/*/metrics.json")
        )
        if not found:
            raise FileNotFoundError(
                f"revision {self.name} must hold results/SETTING/metrics.json, found none: name another"
            )
        return found

    def metrics(self, setting: str) -> dict[str, Any]:
        """Return what stage report said of a setting."""
        if setting not in self._settings:
            known = ", ".join(self._settings)
            raise FileNotFoundError(
                f"revision {self.name} must have results of {setting}, it has those of {known}"
            )
        return dict(json.loads(self._read(self._files, f"results/{setting}/metrics.json")))

    def scores(self, setting: str, method: str) -> tuple[NDArray[np.float32], str]:
        """Return the scores of a method, and the function that they explain."""
        folder = f"artifacts/scores/{setting}/{method}"
        try:
            choice = json.loads(self._read(self._files, f"{folder}/choice.json"))
            content = self._read(self._files, f"{folder}/scores.npy")
        except FileNotFoundError:
            raise FileNotFoundError(
                f"scores of {method} at {self.name} must be in DVC's cache or remote, found none: "
                "compare the metrics alone, without --method"
            ) from None
        return np.load(io.BytesIO(content), allow_pickle=False), str(choice["function"])
