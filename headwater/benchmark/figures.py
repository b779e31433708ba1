"""Figures of one setting: its methods in the order of a metric, and LDS against cost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headwater.benchmark.drawing import (
    COLOURS,
    GREY,
    MARKERS,
    canvas,
    draw_ceilings,
    draw_legend,
    figure_of,
)
from headwater.benchmark.labels import place_labels
from headwater.benchmark.leaderboard import cheapest, seconds_of

__all__ = ["cost_figure", "metric_figure"]

ROW, LINE, AROUND = 0.22, 0.16, 1.8  # inches: of a row, of a line below, of all around them
CHARACTERS = 125  # in one line below
CHANCE = {"auc": 0.5}
LEAST = 0.1  # seconds: what they are rounded to, since a logarithmic axis has no zero


def metric_figure(setting: str, metric: str, label: str, record: dict[str, Any]) -> Figure:
    """Return one row a method, best on top: a dot with its interval; below, why others are infeasible.

    Args:
        setting: its name.
        metric: its name in the record.
        label: its title.
        record: as of `leaderboard`; each method that is feasible has a "family", too.
    """
    methods = {name: found for name, found in record["methods"].items() if metric in found}
    ranked = sorted(methods, key=lambda name: (-methods[name][metric]["value"], name))
    reasons = "\n".join(_reasons(record["methods"]))
    height = AROUND + ROW * len(ranked) + LINE * reasons.count("\n")
    axes = canvas(f"{setting}: {label}", height)
    for y, name in enumerate(ranked):
        _draw_row(axes, y, methods[name], metric)
    axes.set_yticks(range(len(ranked)), [_title(name, methods[name]) for name in ranked])
    axes.set_ylim(len(ranked) - 0.4, -0.6)
    axes.axvline(CHANCE.get(metric, 0), lw=0.8, color="black", zorder=0)
    ceilings = draw_ceilings(axes, record["noise_ceiling"], "x") if metric == "lds" else []
    percent = round(100 * record["confidence"])
    axes.set_xlabel(f"{label} with its {percent} % interval; × checkpoints")
    draw_legend(axes, methods.values(), ceilings)
    figure = figure_of(axes)
    figure.supxlabel(reasons, x=0.01, ha="left", fontsize="small", color=GREY)
    return figure


def _draw_row(axes: Axes, y: int, found: dict[str, Any], metric: str) -> None:
    estimate, colour = found[metric], COLOURS[found["family"]]
    axes.axhline(y, lw=0.5, color="#eeeeee", zorder=-1)
    axes.plot([estimate["low"], estimate["high"]], [y, y], lw=2, color=colour, alpha=0.5)
    axes.plot(estimate["value"], y, MARKERS[found["function"]], ms=6, color=colour)
    beside = axes.get_yaxis_transform()  # x is a share of the width
    axes.text(1.01, y, f"{estimate['value']:.3f}", va="center", transform=beside)


def _title(name: str, found: dict[str, Any]) -> str:
    """Return the label of a row; numbers of checkpoints begin in one column."""
    figure_space = "\u2007"  # as wide as a digit
    return f"{name}  ×{str(found['checkpoints']).ljust(2, figure_space)}"


def _reasons(methods: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that say which methods are infeasible, and why."""
    for name, found in methods.items():
        if "infeasible" in found:
            yield from textwrap.wrap(f"{name} is infeasible: {found['infeasible']}", CHARACTERS)


def cost_figure(setting: str, record: dict[str, Any]) -> Figure:
    """Return LDS against seconds, a point a method, and the line of those worth their cost.

    Args:
        setting: its name.
        record: as of `metric_figure`.
    """
    methods = {name: found for name, found in record["methods"].items() if "lds" in found}
    seconds = {name: max(seconds_of(found), LEAST) for name, found in methods.items()}
    lds = {name: found["lds"]["value"] for name, found in methods.items()}
    front = cheapest(methods)
    axes = canvas(f"{setting}: what a method gives for its time", 8.0)
    axes.set_xscale("log")
    (line,) = axes.step(
        [seconds[name] for name in front], [lds[name] for name in front],
        where="post", lw=1, color="#bbbbbb", zorder=0, label="worth its cost (bold)",
    )  # fmt: skip
    points = []
    for name, found in methods.items():
        x, estimate, colour = seconds[name], found["lds"], COLOURS[found["family"]]
        axes.plot([x, x], [estimate["low"], estimate["high"]], lw=1.5, color=colour, alpha=0.3)
        points += axes.plot(x, lds[name], MARKERS[found["function"]], ms=6, color=colour)
    ceilings = draw_ceilings(axes, record["noise_ceiling"], "y")
    axes.set_xlabel("seconds from trained models to scores (one thread)")
    axes.set_ylabel("LDS")
    draw_legend(axes, methods.values(), [*ceilings, line])
    axes.xaxis.set_major_formatter("{x:g}")
    labels = [
        axes.text(
            seconds[name], lds[name], name, fontsize="small", color=COLOURS[found["family"]],
            weight="bold" if name in front else "normal",
        )
        for name, found in methods.items()
    ]  # fmt: skip
    place_labels(axes, labels, points)
    return figure_of(axes)
