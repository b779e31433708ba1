"""The figure of removal curves: what queries lose with their top samples, beside random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["draw_removal"]

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")


def draw_removal(path: Path, setting: str, results: dict[str, Any]) -> None:
    """Draw the mean change of the queries' loss against the share that was removed, a line a method.

    Args:
        path: of the image.
        setting: its title.
        results: {"removal": {"curve", "queries"}, "methods": {name: {"removal": {"curve"}}}}.
    """
    curves = {n: f["removal"]["curve"] for n, f in results["methods"].items() if "removal" in f}
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, curve) in enumerate(sorted(curves.items())):
        _draw(axes, curve, name, COLOURS[i % len(COLOURS)])
    _draw(axes, results["removal"]["curve"], "random", "#777777")
    axes.axhline(0, lw=0.8, color="black")
    axes.set_xlabel("removed training samples (%)")
    axes.set_ylabel("mean rise of the query's loss")
    axes.set_title(f"{setting}: retrained without the top samples of {_count(results)} queries")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def _draw(axes: Axes, curve: list[dict[str, float]], name: str, colour: str) -> None:
    points = [{"share": 0.0, "value": 0.0, "low": 0.0, "high": 0.0}, *curve]
    x = [100 * point["share"] for point in points]
    axes.plot(x, [point["value"] for point in points], "o-", ms=4, lw=1.5, color=colour, label=name)
    low, high = ([point[end] for point in points] for end in ("low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)


def _count(results: dict[str, Any]) -> int:
    return len(results["removal"]["queries"])
