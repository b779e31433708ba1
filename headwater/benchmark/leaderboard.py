"""The table of a setting, best LDS first: as Markdown, and on the terminal.

A record holds {"confidence", "noise_ceiling": {function: estimate}, "methods": {name: results}}; an
estimate is {"value", "low", "high"}, the results of a method its estimates by metric and its cost.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table

__all__ = ["METRICS", "cheapest", "labels", "leaderboard", "seconds_of", "show", "summary"]

WIDTH = 140
HEAD = ("method", "explains", "models", "damping")
METRICS = {"lds": "LDS", "loo": "LOO", "auc": "AUC"}
NOTE = """\
Brackets hold {percent} % bootstrap intervals over test samples and subsets. LDS and LOO are means over
the reported test samples; damping was chosen on others. Methods in bold are worth their cost: no
cheaper one has a higher LDS. Seconds: gradients (the method's share of its store) + everything after
them, without the choice of the damping. Memory: the most that a stage takes above its libraries.
"""
REMOVAL_NOTE = """\
QLD: how much more a query's loss rises when its top samples are removed and the model is retrained than
with as many random ones, mean of {queries} reported samples. Brittleness: the smallest share of its top
samples whose removal flips a prediction that was right; low is good.
"""
LOW_IS_GOOD = ("brittleness",)


def labels(record: dict[str, Any]) -> dict[str, str]:
    """Return the title of each metric by name, those of removal included where there are any."""
    return {**METRICS, **dict(record.get("removal", {}).get("labels", ()))}


def seconds_of(found: dict[str, Any]) -> float:
    """Return what a method takes from trained models to scores."""
    return round(float(found["gradient_seconds"] + found["method_seconds"]), 1)


def cheapest(methods: dict[str, Any]) -> list[str]:
    """Return the methods that no cheaper one surpasses in LDS, the cheapest first."""
    ranked = sorted(
        (seconds_of(f), -f["lds"]["value"], m) for m, f in methods.items() if "lds" in f
    )
    kept: list[str] = []
    best = -1.0
    for _, negative, name in ranked:
        if -negative > best:
            kept.append(name)
            best = -negative
    return kept


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Return the best method of a setting by each metric: of all, and of those with one model.

    Returns:
        metric -> {"any" | "one": {"method", "models", "function", "value", "low", "high", "ceiling",
        "seconds"}}; the ceiling is that of the LDS of the function, None for other metrics.
    """
    found: dict[str, Any] = {}
    for metric in labels(record):
        sign = -1 if metric in LOW_IS_GOOD else 1
        rows = {n: f for n, f in record["methods"].items() if metric in f}
        groups = {"any": rows, "one": {n: f for n, f in rows.items() if f["checkpoints"] == 1}}
        for group, methods in groups.items():
            if methods:
                name = max(methods, key=lambda n: (sign * methods[n][metric]["value"], n))
                best = methods[name]
                ceiling = record["noise_ceiling"][best["function"]]["value"]
                found.setdefault(metric, {})[group] = {
                    **best[metric],
                    "method": name,
                    "models": best["checkpoints"],
                    "function": best["function"],
                    "ceiling": ceiling if metric == "lds" else None,
                    "seconds": seconds_of(best),
                }
    return found


def leaderboard(setting: str, record: dict[str, Any]) -> str:
    """Return the table of a setting as Markdown."""
    lines = [f"# {setting}", "", NOTE.format(percent=round(100 * record["confidence"]))]
    if "removal" in record:
        lines.append(REMOVAL_NOTE.format(queries=len(record["removal"]["queries"])))
    for function, ceiling in record["noise_ceiling"].items():
        lines.append(f"Noise ceiling of LDS ({function}): {_interval(ceiling)}  ")
    return "\n".join([*lines, "", *_rows(_cells(record))]) + "\n"


def _rows(cells: list[list[str]]) -> list[str]:
    head, *body = cells
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(line) + " |" for line in body),
    ]


def _cells(results: dict[str, Any], mark: str = "**{}**") -> list[list[str]]:
    """Return the table of one setting, best LDS first, infeasible methods last."""
    methods: dict[str, Any] = results["methods"]
    titles = labels(results)
    metrics = [m for m in titles if any(m in found for found in methods.values())]
    cells = [[*HEAD, *(titles[m] for m in metrics), "seconds", "memory (MB)"]]
    best = cheapest(methods)
    for name, found in sorted(methods.items(), key=_rank):
        if "infeasible" in found:
            blank = ["-"] * (len(metrics) + 1)
            cells.append([name, "-", "-", "-", *blank, f"infeasible: {found['infeasible']}"])
            continue
        seconds = f"{found['gradient_seconds']} + {found['method_seconds']}"
        cells.append(
            [
                mark.format(name) if name in best else name,
                found["function"],
                str(found["checkpoints"]),
            ]
            + [_damping(found["damping"])]
            + [_interval(found[m]) if m in found else "-" for m in metrics]
            + [seconds, str(found["peak_memory_mb"])]
        )
    return cells


def _damping(damping: float | str | None) -> str:
    return f"{damping:g}" if isinstance(damping, float | int) else damping or "-"


def _rank(item: tuple[str, dict[str, Any]]) -> tuple[float, str]:
    name, found = item
    return (-found["lds"]["value"] if "lds" in found else 2.0, name)


def _interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def show(setting: str, record: dict[str, Any]) -> None:
    """Print the table of a setting on the terminal."""
    console = Console()
    console.width = max(console.width, WIDTH)  # a log has no width of its own
    ceilings = ", ".join(f"{f} {_interval(c)}" for f, c in record["noise_ceiling"].items())
    head, *body = _cells(record, mark="[bold]{}[/bold]")
    names, *others = head
    table = Table(
        Column(names, no_wrap=True),
        *others,
        title=f"{setting}   (noise ceiling of LDS: {ceilings})",
    )
    for line in body:
        table.add_row(*line)
    console.print(table)
