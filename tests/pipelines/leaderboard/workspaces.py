"""A folder with the results of two small settings, as a run of the workflow leaves it."""

import json
import shutil

import yaml

from tests.architecture.imports import ROOT

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
FISHER = {
    "attributor": "InfluenceFunction", "store": "loss", "curvature": "EmpiricalFisher",
    "solver": {"kind": "Woodbury", "damping": {"kind": "Relative", "multiple": [1, 4, 12]}},
}  # fmt: skip
RECIPES = {
    "random": {"attributor": "RandomScores", "store": "loss", "seed": 0},
    "grad-dot": {"attributor": "GradDot", "store": "loss"},
    "fisher": FISHER,
    HOSTILE: {"attributor": "ExactTRAK", "store": "margin", "count": 10, "damping": 1.0},
    "too-large": FISHER,
}
LDS = {"random": -0.01, "grad-dot": 0.2, "fisher": 0.6, HOSTILE: 0.5}
SECONDS = {"random": 0.0, "grad-dot": 1.0, "fisher": 9.0, HOSTILE: 80.0}


def estimate(value):
    return {"value": value, "low": round(value - 0.05, 4), "high": round(value + 0.05, 4)}


def results(name):
    return {
        "lds": estimate(LDS[name]), "auc": estimate(0.9 - LDS[name] / 10), "damping": None,
        "checkpoints": RECIPES[name].get("count", 1), "gradient_seconds": 0.5,
        "function": RECIPES[name]["store"], "method_seconds": SECONDS[name], "peak_memory_mb": 90,
    }  # fmt: skip


def lock():
    """Return dvc.lock: one run of everything, each of which left 1,000 bytes."""
    outs = [{"path": "artifacts/x", "size": 1000}]
    stages = {"data": {"outs": outs}}
    for name in ("loss", "margin"):
        row = {"function": name, "form": "factored"}
        for run in (f"gradients@{name}-clean", f"gradients@{name}-noisy", f"test_gradients@{name}"):
            stages[run] = {"params": {"params.yaml": {f"stores.{name}": row}}, "outs": outs}
    for name, recipe in RECIPES.items():
        params = {"params.yaml": {f"methods.{name}": recipe}}
        stages[f"solve@{name}"] = {"params": params, "outs": outs}
    return {"schema": "2.0", "stages": stages}


def make_workspace(root):
    """Write results/, settings/ and docs/ of settings "one" and "two" into a folder."""
    methods = {name: results(name) for name in LDS} | {"too-large": {"infeasible": "needs 48 GB"}}
    ceilings = {"loss": estimate(0.8), "margin": estimate(0.9)}
    curves = [
        {"method": "fisher", "damping": damping, "lds": lds}
        for damping, lds in ((1.0, 0.4), (4.0, 0.6), (12.0, 0.5))
    ]
    times = {"gradients@loss-clean": 2.0, "gradients@loss-noisy": 1.0, "test_gradients@loss": 0.5}
    for setting in ("one", "two"):
        folder, graph = root / "results" / setting, root / "settings" / setting
        folder.mkdir(parents=True), graph.mkdir(parents=True)
        record = {"confidence": 0.95, "noise_ceiling": ceilings, "methods": methods}
        (folder / "metrics.json").write_text(json.dumps(record))
        (folder / "damping.json").write_text(json.dumps(curves if setting == "one" else []))
        (graph / "dvc.lock").write_text(yaml.safe_dump(lock()))
    seconds = {f"settings/one/dvc.yaml:{run}": s for run, s in times.items()}
    (root / "results" / "durations.json").write_text(json.dumps(seconds))
    (root / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "methods.md", root / "docs")
    return root
