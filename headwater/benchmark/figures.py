"""Bar figures of one metric on one setting, as in the paper that this benchmark follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure

from headwater.benchmark.leaderboard import cheapest, seconds_of

__all__ = ["draw_bars", "draw_cost"]

COLOURS = {"loss": "#4477aa", "margin": "#228833"}


def draw_bars(path: Path, setting: str, metric: str, label: str, results: dict[str, Any]) -> None:
    """Draw one bar a method with its interval; the ceiling as a line, infeasible methods marked."""
    methods: dict[str, Any] = results["methods"]
    figure = Figure(figsize=(1.6 + 0.75 * len(methods), 4.2), layout="constrained")
    axes = figure.add_subplot()
    for x, found in enumerate(methods.values()):
        if metric in found:
            estimate = found[metric]
            value = estimate["value"]
            error = [[max(0, value - estimate["low"])], [max(0, estimate["high"] - value)]]
            axes.bar(x, value, 0.7, yerr=error, capsize=3, color=COLOURS[found["function"]])
            axes.annotate(f"{value:.2f}", (x, max(value, 0)), (7, 4), textcoords="offset points")
        else:
            axes.annotate("infeasible", (x, 0.02), rotation=90, ha="center", color="#aa3377")
    if metric == "lds":
        for function, ceiling in results["noise_ceiling"].items():
            axes.axhline(
                ceiling["value"], ls="--", lw=1, color=COLOURS[function],
                label=f"noise ceiling ({function})",
            )  # fmt: skip
        axes.legend(frameon=False)
    if metric == "auc":
        axes.axhline(0.5, ls=":", lw=1, color="#777777")
    axes.axhline(0, lw=0.8, color="black")
    axes.set_xticks(range(len(methods)), list(methods), rotation=40, ha="right")
    reasons = [
        f"{m}: {found['infeasible']}" for m, found in methods.items() if "infeasible" in found
    ]
    axes.set_xlabel("\n".join(["", *(f"infeasible: {reason}" for reason in reasons)]), fontsize=8)
    axes.set_ylabel(label)
    axes.set_title(f"{setting}: {label}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def draw_cost(path: Path, setting: str, results: dict[str, Any]) -> None:
    """Draw LDS against seconds, a point a method, and the line of those worth their cost."""
    methods = {m: found for m, found in results["methods"].items() if "lds" in found}
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    front = cheapest(methods)
    axes.step(
        [seconds_of(methods[m]) for m in front], [methods[m]["lds"]["value"] for m in front],
        where="post", lw=1, color="#bbbbbb", zorder=0,
    )  # fmt: skip
    for name, found in methods.items():
        x, estimate = seconds_of(found), found["lds"]
        y = estimate["value"]
        error = [[max(0, y - estimate["low"])], [max(0, estimate["high"] - y)]]
        axes.errorbar(x, y, error, fmt="o", ms=5, capsize=2, lw=1, color=COLOURS[found["function"]])
        weight = "bold" if name in front else "normal"
        axes.annotate(name, (x, y), (5, 3), textcoords="offset points", fontsize=8, weight=weight)
    for function, ceiling in results["noise_ceiling"].items():
        axes.axhline(
            ceiling["value"], ls="--", lw=1, color=COLOURS[function],
            label=f"noise ceiling ({function})",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("seconds from trained models to scores (one thread)")
    axes.set_ylabel("LDS")
    axes.set_title(f"{setting}: what a method gives for its time")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})
