"""The figure of removal curves: what queries lose with their top samples, beside random ones."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headwater.benchmark.drawing import COLOURS, canvas, figure_of

__all__ = ["removal_figure"]

DASHES = ("-", "--", ":", "-.")
"""Of the methods of one family, in turn."""


def removal_figure(setting: str, record: dict[str, Any]) -> Figure:
    """Return the mean rise of the queries' loss against the share that was removed, a line a method.

    Args:
        setting: its name.
        record: {"removal": {"curve", "queries"}, "methods": {name: {"family", "removal": {"curve"}}}}.
    """
    methods = {name: f for name, f in sorted(record["methods"].items()) if "removal" in f}
    queries = len(record["removal"]["queries"])
    axes = canvas(f"{setting}: retrained without the top samples of {queries} queries", 5.0)
    drawn: list[str] = []
    for name, found in methods.items():
        family = found["family"]
        dashes = DASHES[drawn.count(family) % len(DASHES)]
        _draw(axes, found["removal"]["curve"], name, COLOURS[family], dashes)
        drawn.append(family)
    _draw(axes, record["removal"]["curve"], "random samples", "black", "-")
    axes.axhline(0, lw=0.8, color="black", zorder=0)
    axes.set_xlabel("removed training samples (%)")
    axes.set_ylabel("mean rise of the query's loss")
    axes.legend(frameon=False)
    return figure_of(axes)


def _draw(axes: Axes, curve: list[dict[str, float]], name: str, colour: str, dashes: str) -> None:
    points = [{"share": 0.0, "value": 0.0, "low": 0.0, "high": 0.0}, *curve]
    x = [100 * point["share"] for point in points]
    low, value, high = ([point[key] for point in points] for key in ("low", "value", "high"))
    axes.plot(x, value, f"o{dashes}", ms=5, lw=1.5, color=colour, label=name)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
