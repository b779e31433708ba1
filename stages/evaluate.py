"""Stage evaluate: the metrics of all methods of one setting."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from safetensors.numpy import load_file

from headwater.benchmark.evaluation import Evaluation
from headwater.benchmark.families import family_of
from headwater.benchmark.leaderboard import labels
from headwater.benchmark.removal.evaluation import RemovalEvaluation
from headwater.progress import track
from stages.files import atomic, load_json, save_json
from stages.params import TARGETS, Method, Metrics
from stages.recipes import split
from stages.row import At, Name, Row


class EvaluateRow(Row):
    """Which methods, and how the metrics are computed."""

    seed: Annotated[int, At("seed")]
    methods: Annotated[dict[Name, Method], At("methods")]
    n_tune: Annotated[int, At("settings.{setting}.n_tune")]
    metrics: Annotated[Metrics, At("metrics")]


def main(
    row: EvaluateRow,
    setting: str,
    *,
    scores: Path,
    noisy: Path,
    truth: Path,
    metrics: Path,
    out: Path,
) -> None:
    """Compare scores with the ground truth; the first n_tune test samples are kept apart."""
    evaluation = _evaluation(row, noisy, truth)
    found: dict[str, Any] = {}
    for name, method in track(row.methods.items(), "evaluating", len(row.methods)):
        choice = load_json(scores / name / "choice.json")
        if "left_out" not in choice:
            matrix = np.load(scores / name / "scores.npy", mmap_mode="r")
            suspects = np.load(scores / name / "self_influence.npy")
            found[name] = {
                **{key: choice[key] for key in ("function", "damping", "curve", "in_store")},
                **{"store": method.store, "checkpoints": method.count, "family": family(method)},
                **evaluation.of(matrix, suspects, choice["function"]),
            }
        elif choice["listed"]:
            found[name] = {"infeasible": choice["left_out"]}
    removal = _removal(row, truth / "removal")
    if removal:
        for name in removal.design["methods"]:
            found[name] |= removal.of(name)
    functions = sorted({results["function"] for results in found.values() if "function" in results})
    ceilings = {function: evaluation.ceiling(function) for function in functions}
    record = {"confidence": row.metrics.confidence, "noise_ceiling": ceilings, "methods": found}
    if removal:
        record["removal"] = removal.record()
    save_json(out, record)
    with atomic(metrics) as partial:
        partial.mkdir()
        for name, results in found.items():
            save_json(partial / f"{name}.json", _flat(results, labels(record)))


def family(method: Method) -> str:
    """Return the family of methods that a recipe belongs to."""
    curvature = (method.model_extra or {}).get("curvature")
    return family_of(method.attributor, curvature and split(curvature, "curvature")[0])


def _evaluation(row: EvaluateRow, noisy: Path, truth: Path) -> Evaluation:
    """Return the ground truth of a setting, with how intervals are computed."""
    subsets, single = truth / "subsets", truth / "leave-one-out"
    left_out = (single / "removed.npy").exists()
    return Evaluation(
        np.load(subsets / "masks.npy"),
        {name: np.load(subsets / f"{name}.npy") for name in TARGETS},
        load_file(noisy)["flipped"],
        row.n_tune,
        _bootstrap(row),
        np.load(single / "removed.npy") if left_out else None,
        {name: np.load(single / f"{name}.npy") for name in TARGETS if left_out},
    )


def _removal(row: EvaluateRow, folder: Path) -> RemovalEvaluation | None:
    """Return what was retrained without top samples; None where nothing was."""
    if not (folder / "design.json").exists():
        return None
    loss, right = (np.load(folder / f"{name}.npy") for name in ("loss", "right"))
    return RemovalEvaluation(load_json(folder / "design.json"), loss, right, _bootstrap(row))


def _bootstrap(row: EvaluateRow) -> dict[str, Any]:
    metrics = row.metrics
    return {"replicates": metrics.bootstrap, "confidence": metrics.confidence, "seed": row.seed}


def _flat(results: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the values alone, one number per metric, as ``dvc metrics show`` has columns."""
    flat = {name: results[name]["value"] for name in names if name in results}
    damping = {"damping": results["damping"]} if results.get("damping") is not None else {}
    return {**flat, **damping} or {"infeasible": 1}
