"""Stage report: the leaderboard, its figures, and the table on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from headwater.metrics import noise_ceiling
from stages.evaluate import as_record
from stages.figures import cheapest, draw_bars, draw_cost
from stages.files import atomic, save_json
from stages.runner import Row, run

SPLITS = ("train", "test")
WIDTH = 140
HEAD = ("method", "explains", "models", "damping")
METRICS = {"lds": "LDS", "loo": "LOO", "auc": "AUC"}


class MethodReport(Row):
    """Where the results and costs of one method are."""

    function: str
    checkpoints: int
    gradients: str
    store_checkpoints: int
    curvature: str | None
    solve: bool
    infeasible: str | None


class SettingReport(Row):
    """The methods of one setting."""

    n_tune: int
    leave_one_out: bool
    methods: dict[str, MethodReport]


class ReportRow(Row):
    """Everything that is reported."""

    settings: dict[str, SettingReport]
    seed: int
    bootstrap: int
    confidence: float


def main(row: ReportRow, evaluated: Path, costs: Path, truth: Path, out: Path) -> None:
    """Collect the metrics of all methods into tables and figures."""
    record: dict[str, Any] = {"confidence": row.confidence, "settings": {}}
    for name, setting in row.settings.items():
        ceilings = _ceilings(row, setting, truth / name / "subsets")
        methods = {
            method: _method_record(spec, name, method, evaluated, costs)
            for method, spec in setting.methods.items()
        }
        record["settings"][name] = {"noise_ceiling": ceilings, "methods": methods}
    save_json(out / "metrics.json", record)
    with atomic(out / "leaderboard.md") as partial:
        partial.write_text(leaderboard(record))
    with atomic(out / "figures") as figures:
        figures.mkdir()
        for name, metric, label, results in _figures(record):
            draw_bars(figures / f"{name}-{metric}.png", name, metric, label, results)
        for name, results in record["settings"].items():
            draw_cost(figures / f"{name}-cost.png", name, results)


def _figures(record: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield what to draw: one figure a setting and metric."""
    for name, results in record["settings"].items():
        for metric, label in METRICS.items():
            if any(metric in m for m in results["methods"].values()):
                yield name, metric, label, results


def _ceilings(row: ReportRow, setting: SettingReport, truth: Path) -> dict[str, Any]:
    """Return the noise ceiling of the reported test samples, for each explained function."""
    found = {}
    for function in sorted({spec.function for spec in setting.methods.values()}):
        outputs = np.load(truth / f"{function}.npy")[:, :, setting.n_tune :]
        found[function] = as_record(
            noise_ceiling(
                outputs, replicates=row.bootstrap, confidence=row.confidence, seed=row.seed
            )
        )
    return found


def _method_record(
    spec: MethodReport, problem: str, method: str, evaluated: Path, costs: Path
) -> dict[str, Any]:
    if spec.infeasible is not None:
        return {"infeasible": spec.infeasible}
    results = json.loads((evaluated / problem / f"{method}.json").read_text())
    stores = [_cost(costs / "gradients" / problem / spec.gradients / f"{s}.json") for s in SPLITS]
    parts = [_cost(costs / "score" / problem / f"{method}.json")]
    if spec.curvature is not None:
        parts.append(_cost(costs / "curvature" / problem / f"{spec.curvature}.json"))
    if spec.solve:
        parts.append(_cost(costs / "solve" / problem / f"{method}.json"))
    share = spec.checkpoints / spec.store_checkpoints
    return {
        "function": spec.function,
        "checkpoints": spec.checkpoints,
        "damping": results["damping"],
        **results["report"],
        "tune": results["tune"],
        "gradient_seconds": round(share * sum(store["seconds"] for store in stores), 1),
        "method_seconds": round(sum(part["seconds"] for part in parts), 1),
        "peak_memory_mb": max(part["peak_memory_mb"] for part in [*stores, *parts]),
    }


def _cost(path: Path) -> dict[str, float]:
    cost: dict[str, float] = json.loads(path.read_text())
    return cost


def leaderboard(record: dict[str, Any]) -> str:
    """Return the tables of all settings as Markdown."""
    percent = round(100 * record["confidence"])
    lines = [
        "# Leaderboard",
        "",
        f"Made by `make benchmark`; brackets hold {percent} % bootstrap intervals over test samples and",
        "subsets. LDS and LOO are means over the reported test samples; damping was chosen on others.",
        "Methods in bold are worth their cost: no cheaper one has a higher LDS.",
        "Seconds: gradients (the method's share of its store) + everything after them, each stage",
        "in a process of its own, PyTorch's import included. Memory: the largest of these processes.",
    ]
    for name, results in record["settings"].items():
        lines += ["", f"## {name}", ""]
        for function, ceiling in results["noise_ceiling"].items():
            lines.append(f"Noise ceiling of LDS ({function}): {_interval(ceiling)}  ")
        lines += ["", *_rows(_cells(results))]
    return "\n".join(lines) + "\n"


def _rows(cells: list[list[str]]) -> list[str]:
    head, *body = cells
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(line) + " |" for line in body),
    ]


def _cells(results: dict[str, Any]) -> list[list[str]]:
    """Return the table of one setting, best LDS first, infeasible methods last."""
    methods: dict[str, Any] = results["methods"]
    metrics = [m for m in METRICS if any(m in found for found in methods.values())]
    cells = [[*HEAD, *(METRICS[m] for m in metrics), "seconds", "memory (MB)"]]
    best = cheapest(methods)
    for name, found in sorted(methods.items(), key=_rank):
        if "infeasible" in found:
            blank = ["-"] * (len(metrics) + 1)
            cells.append([name, "-", "-", "-", *blank, f"infeasible: {found['infeasible']}"])
            continue
        seconds = f"{found['gradient_seconds']} + {found['method_seconds']}"
        cells.append(
            [f"**{name}**" if name in best else name, found["function"], str(found["checkpoints"])]
            + ["-" if found["damping"] is None else f"{found['damping']:g}"]
            + [_interval(found[m]) if m in found else "-" for m in metrics]
            + [seconds, str(found["peak_memory_mb"])]
        )
    return cells


def _rank(item: tuple[str, dict[str, Any]]) -> tuple[float, str]:
    name, found = item
    return (-found["lds"]["value"] if "lds" in found else 2.0, name)


def _interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def show(path: Path) -> None:
    """Print the tables of a metrics.json on the terminal."""
    record = json.loads(path.read_text())
    console = Console()
    console.width = max(console.width, WIDTH)  # a log has no width of its own
    for name, results in record["settings"].items():
        ceilings = ", ".join(f"{f} {_interval(c)}" for f, c in results["noise_ceiling"].items())
        head, *body = _cells(results)
        table = Table(*head, title=f"{name}   (noise ceiling of LDS: {ceilings})")
        for line in body:
            table.add_row(*line)
        console.print(table)


if __name__ == "__main__":
    run("report", ReportRow, main, "evaluated", "costs", "truth", "out")
