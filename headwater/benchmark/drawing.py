"""How all figures of the benchmark look, and how they are saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from headwater.benchmark.families import FAMILIES

__all__ = [
    "COLOURS", "GREY", "MARKERS", "canvas", "draw_ceilings", "draw_legend", "figure_of", "save",
]  # fmt: skip

GREY = "#777777"
COLOURS = dict(
    zip(
        FAMILIES,
        (GREY, "#33bbee", "#228833", "#ee7733", "#aa3377", "#0055aa", "#661100"),
        strict=True,
    )
)
"""Of the families; told apart by colour-blind readers as well."""
MARKERS = {"loss": "o", "margin": "D"}
"""Of the functions that methods explain."""
DASHES = {"loss": ":", "margin": "--"}
"""Of the functions' noise ceilings."""
WIDTH, DPI = 9.6, 100  # inches, and pixels in one: what a page shows without shrinking it
COLUMNS = 4


def canvas(title: str, height: float) -> Axes:
    """Return axes as wide as all figures.

    Args:
        title: of the figure.
        height: in inches, for the whole of it.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    figure.suptitle(title, weight="bold")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def draw_ceilings(
    axes: Axes, ceilings: Mapping[str, Any], along: Literal["x", "y"]
) -> list[Artist]:
    """Draw the noise ceiling of each function as a line in its interval; return the legend's part."""
    band, line = (axes.axvspan, axes.axvline) if along == "x" else (axes.axhspan, axes.axhline)
    for function, ceiling in ceilings.items():
        band(ceiling["low"], ceiling["high"], color="#ddaa33", alpha=0.2, lw=0, zorder=0)
        line(ceiling["value"], ls=DASHES[function], lw=1.2, color="#997700", zorder=0)
    return [
        Line2D([], [], ls=DASHES[f], color="#997700", label=f"noise ceiling ({f})")
        for f in ceilings
    ]


def draw_legend(axes: Axes, methods: Iterable[Mapping[str, Any]], others: list[Artist]) -> None:
    """Say above the axes what colours and markers mean, as far as the methods have them."""
    found = list(methods)
    families = [
        Line2D([], [], marker="s", color=colour, label=family, ls="", ms=6)
        for family, colour in COLOURS.items()
        if family in {method["family"] for method in found}
    ]
    functions = [
        Line2D(
            [],
            [],
            marker=marker,
            color="black",
            mfc="none",
            label=f"explains the {name}",
            ls="",
            ms=6,
        )
        for name, marker in MARKERS.items()
        if name in {method["function"] for method in found}
    ]
    axes.legend(
        handles=[*families, *functions, *others], ncols=COLUMNS, frameon=False, fontsize="small",
        loc="lower left", bbox_to_anchor=(0, 1.02), borderaxespad=0,
    )  # fmt: skip


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes are in."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "canvas makes axes in a figure"
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure."""
    figure.savefig(path, format="png", metadata={"Software": None})
