"""Bars of an explanation, by matplotlib where it is installed."""

from __future__ import annotations

from typing import Any

from headwater.scores.explanation import Explanation

__all__ = ["draw_bars"]

COLOURS = {"proponents": "#2f6db3", "opponents": "#c2571a"}


def draw_bars(explanation: Explanation) -> Any:
    """Draw proponents above opponents, the strongest outermost; return the axes."""
    try:
        from matplotlib import pyplot  # noqa: PLC0415 - optional, and notebooks show its figures
    except ImportError:
        raise ImportError("plots need matplotlib, got none: pip install matplotlib") from None
    sides = {"proponents": explanation.proponents, "opponents": explanation.opponents}
    count = sum(map(len, sides.values()))
    _, axes = pyplot.subplots(figsize=(6, 1 + 0.25 * count), layout="constrained")
    names: list[str] = []
    for side, ranking in sides.items():
        values = list(ranking.values) if side == "proponents" else list(ranking.values)[::-1]
        ids = list(ranking.ids) if side == "proponents" else list(ranking.ids)[::-1]
        axes.barh(range(len(names), len(names) + len(ids)), values, color=COLOURS[side], label=side)
        names += [str(i) for i in ids]
    axes.set_yticks(range(count), names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlabel(f"score: change of {explanation.function}")
    axes.set_title(f"test sample {explanation.test_id}, {explanation.method}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return axes
