"""Stage report: the leaderboard of a setting, its figures and plots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from headwater.benchmark.drawing import save
from headwater.benchmark.figures import cost_figure, metric_figure
from headwater.benchmark.leaderboard import METRICS, leaderboard, seconds_of
from headwater.benchmark.removal.figure import removal_figure
from stages.files import atomic, load_json, save_json


def main(*, evaluation: Path, costs: Path, out: Path) -> None:
    """Put the metrics and costs of all methods of a setting into tables, figures and plots."""
    setting, record = out.name, load_json(evaluation)
    for name, results in record["methods"].items():
        if "infeasible" not in results:
            results.update(_cost(results, name, costs))
    curves = {name: results.pop("curve", []) for name, results in record["methods"].items()}
    save_json(out / "metrics.json", record)
    with atomic(out / "leaderboard.md") as partial:
        partial.write_text(leaderboard(setting, record))
    with atomic(out / "figures") as partial:
        partial.mkdir()
        for name, figure in _figures(setting, record):
            save(figure, partial / f"{name}.png")
    _save_plots(out, record["methods"], curves)


def _figures(setting: str, record: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of a setting, by name."""
    for metric, label in METRICS.items():
        if any(metric in results for results in record["methods"].values()):
            yield metric, metric_figure(setting, metric, label, record)
    yield "cost", cost_figure(setting, record)
    if "removal" in record:
        yield "removal", removal_figure(setting, record)


def _cost(results: dict[str, Any], method: str, costs: Path) -> dict[str, Any]:
    """Return seconds from trained models to scores, and the peak memory on the way."""
    solve, score = (load_json(costs / stage / f"{method}.json") for stage in ("solve", "score"))
    store = costs / "gradients" / results.pop("store")
    gradients = [load_json(store / f"{split}.json")["gradients"] for split in ("clean", "test")]
    # What a stage that was killed had done before is not there.
    parts = [*(solve[part] for part in ("prepare", "solve") if part in solve), score["score"]]
    share = results["checkpoints"] / results.pop("in_store")
    return {
        "gradient_seconds": round(share * sum(part["seconds"] for part in gradients), 1),
        "method_seconds": round(sum(part["seconds"] for part in parts), 1),
        "peak_memory_mb": max(part["peak_memory_mb"] for part in [*gradients, *parts]),
    }


def _save_plots(out: Path, methods: dict[str, Any], curves: dict[str, Any]) -> None:
    """Write what ``dvc plots show`` draws: LDS against cost, and LDS against the damping."""
    cost = [
        {"method": name, "seconds": seconds_of(found), "lds": found["lds"]["value"]}
        for name, found in sorted(methods.items())
        if "lds" in found
    ]
    damping = [
        {"method": name, **point} for name, curve in sorted(curves.items()) for point in curve
    ]
    save_json(out / "cost.json", cost)
    save_json(out / "damping.json", damping)
