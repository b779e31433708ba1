"""What was measured on one setting: its methods, and what stages and stores took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.benchmark.leaderboard import LOW_IS_GOOD, cheapest, labels, seconds_of
from pipelines import durations
from stages.evaluate import family
from stages.files import load_json
from stages.params import Method
from stages.row import read

__all__ = ["Results", "settings_with_results"]

GRADIENTS = ("gradients", "test_gradients")


def settings_with_results(root: Path) -> list[str]:
    """Return the names of all settings that have metrics, from A to Z.

    Raises:
        ValueError: if there is none.
    """
    found = sorted(path.parent.name for path in root.glob("results/*/metrics.json"))
    if not found:
        raise ValueError("results/*/metrics.json must exist, got none: run `make benchmark`")
    return found


@dataclass(frozen=True)
class Results:
    """The results of one setting, and the record of the runs that made them.

    Args:
        setting: its name.
        metrics: as of stage report.
        curves: {"method", "damping", "lds"} for each damping that was tried.
        stages: what dvc.lock says of each stage of the setting.
        seconds: of the last run of each stage.
    """

    setting: str
    metrics: Mapping[str, Any]
    curves: list[dict[str, Any]]
    stages: Mapping[str, Any]
    seconds: Mapping[str, float]

    @classmethod
    def of(cls, root: Path, setting: str) -> Results:
        """Read the results of a setting below a folder."""
        folder, prefix = root / "results" / setting, f"settings/{setting}/dvc.yaml:"
        times = durations.load(root / durations.PATH)
        return cls(
            setting,
            load_json(folder / "metrics.json"),
            load_json(folder / "damping.json"),
            read(root / "settings" / setting / "dvc.lock")["stages"],
            {k.removeprefix(prefix): s for k, s in times.items() if k.startswith(prefix)},
        )

    def recipe(self, method: str) -> Method:
        """Return the recipe that a method's results were made with.

        Raises:
            ValueError: if dvc.lock has no run of it.
        """
        return Method.model_validate(self._parameters(f"solve@{method}", f"methods.{method}"))

    def record(self) -> dict[str, Any]:
        """Return all that the page shows of this setting, but for its figures."""
        return {
            "name": self.setting,
            "confidence": self.metrics["confidence"],
            "ceilings": self.metrics["noise_ceiling"],
            "metrics": [
                {"key": key, "title": title, "low_is_good": key in LOW_IS_GOOD}
                for key, title in labels(dict(self.metrics)).items()
                if any(key in found for found in self.metrics["methods"].values())
            ],
            "methods": self.methods(),
            "stores": list(self._stores()),
            "stages": list(self._groups()),
        }

    def methods(self) -> list[dict[str, Any]]:
        """Return the results of each method, the best LDS first, infeasible ones last."""
        best = cheapest(self.metrics["methods"])
        found = [
            {
                "name": name,
                "store": recipe.store,
                "family": family(recipe),
                **{key: value for key, value in results.items() if key not in ("tune", "family")},
                **({} if "infeasible" in results else {"seconds": seconds_of(results)}),
                "worth": name in best,
            }
            for name, results in self.metrics["methods"].items()
            for recipe in [self.recipe(name)]
        ]
        return sorted(found, key=_rank)

    def _parameters(self, stage: str, key: str) -> dict[str, Any]:
        try:
            return dict(self.stages[stage]["params"]["params.yaml"][key])
        except KeyError:
            raise ValueError(
                f"settings/{self.setting}/dvc.lock must record {stage}, whose results are there, "
                "got nothing: run `make benchmark`"
            ) from None

    def _stores(self) -> Iterator[dict[str, Any]]:
        """Yield disk and seconds of each store that some method works on."""
        users = defaultdict(list)
        for name, results in self.metrics["methods"].items():
            if "infeasible" not in results:
                users[self.recipe(name).store].append(name)
        for store, methods in sorted(users.items()):
            row = self._parameters(f"test_gradients@{store}", f"stores.{store}")
            runs = [
                f"gradients@{store}-clean",
                f"gradients@{store}-noisy",
                f"test_gradients@{store}",
            ]
            yield {
                "name": store,
                **{key: row[key] for key in ("function", "form")},
                "disk": sum(self._disk(run) for run in runs),
                "seconds": self._time(runs),
                "methods": methods,
            }

    def _groups(self) -> Iterator[dict[str, Any]]:
        """Yield runs, seconds and disk of each kind of stage, in the order of the graph."""
        groups = defaultdict(list)
        for run in self.stages:
            groups[run.partition("@")[0]].append(run)
        for group, runs in groups.items():
            disk = sum(map(self._disk, runs))
            yield {"name": group, "runs": len(runs), "seconds": self._time(runs), "disk": disk}

    def _disk(self, run: str) -> int:
        """Return the bytes of what a run left."""
        return sum(out.get("size", 0) for out in self.stages.get(run, {}).get("outs", ()))

    def _time(self, runs: list[str]) -> float | None:
        """Return the seconds of the last run of each; None: nobody measured any of them."""
        known = [self.seconds[run] for run in runs if run in self.seconds]
        return round(sum(known), 1) if known else None


def _rank(found: Mapping[str, Any]) -> tuple[bool, float, str]:
    return "infeasible" in found, -found.get("lds", {"value": -1.0})["value"], found["name"]
