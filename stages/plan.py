"""Stage plan: write the rows of every stage from params.yaml, or check that they are up to date.

python -m stages.plan           write runs.yaml
python -m stages.plan --check   exit 1, with one line, unless runs.yaml is what it would write
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from headwater.attributors import MODULES
from headwater.settings import SETTINGS
from stages.params import Method, Params, SettingParams, load_params
from stages.parts import code_of
from stages.recipe import Part
from stages.runner import ROWS

Rows = dict[str, dict[str, Any]]
UNTUNED = "plan.txt"
"""Where a method with nothing to choose has its damping: in params.yaml."""
KEPT = ("Explicit", "Lanczos", "Eigenbasis")
"""The solvers whose preparation is smaller than it is dear."""
TUNED = 2
"""Models that a damping is chosen with, at most: more of them find nearly the same."""
LONG = 1
"""The priority of stages that take minutes: started first, they do not run alone at the end."""
STAGES = (
    "prepare",
    "train",
    "retrain",
    "ground_truth",
    "gradients",
    "curvature",
    "tune",
    "solve",
    "score",
    "self_influence",
    "evaluate",
    "report",
)
HEADER = (
    "# Made by `make plan` from params.yaml: the parameters of every run of every stage, flattened,\n"
    "# because dvc.yaml cannot look recipes up. Edit params.yaml instead.\n"
)


def plan(params: Params) -> Rows:
    """Return the rows of all stages: stage -> key -> parameters."""
    rows: Rows = {stage: {} for stage in STAGES}
    for name, setting in params.settings.items():
        _plan_problem(rows, params, name, setting, noisy=False)
        _plan_problem(rows, params, name, setting, noisy=True)
    rows["report"]["all"] = _report_row(params)
    return rows


def _plan_problem(
    rows: Rows, params: Params, name: str, setting: SettingParams, *, noisy: bool
) -> None:
    """Add the rows of one setting, clean or with flipped labels."""
    problem = f"{name}-noisy" if noisy else name
    code = {"setting": name, **SETTINGS[name]._asdict()}
    common = {**code, "seed": params.seed}
    splits = {"train": setting.noisy.n_train if noisy else setting.n_train}
    if not noisy:
        splits["test"] = setting.n_test
    for split, n in splits.items():
        noise = setting.noisy.fraction if noisy else 0.0
        rows["prepare"][f"{problem}_{split}"] = {
            **common, "problem": problem, "split": split, "n": n, "noise": noise,
        }  # fmt: skip
    rows["train"][problem] = {
        **common,
        "ensemble": setting.ensemble,
        "early": setting.early.models if setting.early else 0,
        "early_epochs": setting.early.epochs if setting.early else 0,
        "trajectory": setting.trajectory,
    }
    if not noisy:
        _plan_truth(rows, common, problem, setting)
    used = [method for method in params.methods.values() if method.runs(name)]
    for store_name in sorted({method.store for method in used}):
        store = params.stores[store_name]
        for split in splits:
            rows["gradients"][f"{problem}_{store_name}_{split}"] = {
                **code,
                "problem": problem,
                **store.model_dump(mode="json", exclude={"models"}),
                "count": store.trained(setting),
                "split": split,
                "store": store_name,
                "priority": LONG if store.form == "projected" else 0,
            }
    for method_name, method in params.methods.items():
        if method.runs(name):
            _plan_method(rows, params, code, problem, name, method_name, method, noisy=noisy)


def _plan_truth(rows: Rows, common: dict[str, Any], problem: str, setting: SettingParams) -> None:
    truth = setting.ground_truth
    subsets = {"count": truth.subsets, "fraction": truth.fraction, "repeats": truth.repeats}
    kinds: dict[str, dict[str, Any]] = {"subsets": subsets}
    if truth.leave_one_out:
        kinds["leave-one-out"] = {"count": truth.leave_one_out, "fraction": 1.0, "repeats": 1}
    for kind, sizes in kinds.items():
        cores = "all" if kind == "subsets" else "one"  # leave-one-out is one batched computation
        row = {**common, "problem": problem, "kind": kind, **sizes, "cores": cores}
        rows["retrain"][f"{problem}_{kind}"] = row
        rows["ground_truth"][f"{problem}_{kind}"] = row


def _plan_method(
    rows: Rows,
    params: Params,
    code: dict[str, Any],
    problem: str,
    setting_name: str,
    name: str,
    method: Method,
    *,
    noisy: bool,
) -> None:
    """Add curvature, tune, solve, score (or self_influence) and evaluate of a method on a problem."""
    store = params.stores[method.store]
    raw = f"gradients/{problem}/{method.store}"
    base: dict[str, Any] = {
        **code,
        "problem": problem,
        "attributor_module": MODULES[method.attributor],
        "code": code_of(method.attributor),
        "seed": params.seed,
        "store": method.store,
        "function": store.function,
        "checkpoints": store.checkpoints,
        "count": method.count,
        "masks": store.masks,
        "recipe": method.recipe(),
    }
    curvature = f"{raw}/train"
    if prepared := curvature_name(method):
        curvature = f"curvature/{problem}/{prepared}"
        _plan_curvature(rows, base, problem, prepared)
    dampings = method.dampings(setting_name)
    tuned = UNTUNED
    if len(dampings) > 1:
        tuned = f"tune/{setting_name}/{name}.json"
    row = {
        **base,
        "curvature": curvature,
        "tuned": tuned,
        "damping": dampings[0] if len(dampings) == 1 else None,
        "method": name,
        "priority": LONG if is_long(method) else 0,
    }
    if noisy:
        rows["self_influence"][f"{problem}_{name}"] = row
        return
    setting = params.settings[setting_name]
    if len(dampings) > 1:
        untuned = {key: value for key, value in row.items() if key not in ("tuned", "damping")}
        rows["tune"][f"{problem}_{name}"] = {
            **untuned, "count": min(method.count, TUNED), "dampings": dampings, "n_tune": setting.n_tune,
        }  # fmt: skip
    solved = f"{raw}/test"
    if has_solve(method):
        solved = f"solve/{problem}/{name}"
        rows["solve"][f"{problem}_{name}"] = row
    rows["score"][f"{problem}_{name}"] = {**base, "solved": solved, "method": name}
    rows["evaluate"][f"{problem}_{name}"] = {
        "problem": problem,
        "method": name,
        "function": store.function,
        "n_tune": setting.n_tune,
        "leave_one_out": setting.ground_truth.leave_one_out > 0,
        "seed": params.seed,
        "tuned": tuned,
        "damping": row["damping"],
        **params.metrics.model_dump(),
    }


def _plan_curvature(rows: Rows, base: dict[str, Any], problem: str, name: str) -> None:
    """Add a curvature, once for all methods that differ in damping or number of checkpoints."""
    key = f"{problem}_{name}"
    known = rows["curvature"].get(key, {"count": 0})
    rows["curvature"][key] = {**base, "count": max(base["count"], known["count"]), "name": name}


def curvature_name(method: Method) -> str | None:
    """Return the name of what is worth keeping before the damping is known, if there is anything.

    Methods with one name share it: it says all that it depends on.
    """
    said = [method.store]
    if method.attributor in ("TRAK", "ProjectedInfluence"):
        said += [
            "gram",
            *_words(method.projection),
            *([f"b{method.blocks}"] if method.blocks else []),
        ]
    elif method.solver is not None and method.solver.kind in KEPT:
        assert method.curvature is not None
        said += [*_words(method.curvature), *_words(method.solver)]
    else:
        return None
    return "-".join(said).lower()


def _words(part: Part | None) -> list[str]:
    """Return what tells a part from others of its kind, as words of a file's name."""
    if part is None:
        return []
    return [part.kind, *(f"{key[0]}{value}" for key, value in sorted(part.settings().items()))]


def has_solve(method: Method) -> bool:
    """Say whether the method prepares its test side: all do that are no plain gradient product."""
    return method.attributor not in ("GradDot", "GradCos", "TracInCP")


def is_long(method: Method) -> bool:
    """Say whether solving takes minutes."""
    return method.solver is not None and method.solver.kind in ("ConjugateGradient", "LiSSA")


def _report_row(params: Params) -> dict[str, Any]:
    settings = {}
    for name, setting in params.settings.items():
        store_counts = {
            key: store.trained(setting) * store.masks for key, store in params.stores.items()
        }
        settings[name] = {
            "n_tune": setting.n_tune,
            "leave_one_out": setting.ground_truth.leave_one_out > 0,
            "methods": {
                key: {
                    "function": params.stores[method.store].function,
                    "checkpoints": method.count,
                    "gradients": method.store,
                    "store_checkpoints": store_counts[method.store],
                    "curvature": curvature_name(method),
                    "solve": has_solve(method),
                    "infeasible": method.infeasible.get(name),
                }
                for key, method in params.methods.items()
                if method.listed(name)
            },
        }
    return {"settings": settings, "seed": params.seed, **params.metrics.model_dump()}


def render(params: Params) -> str:
    """Return the text of runs.yaml."""
    body = yaml.safe_dump(
        {"runs": plan(params)}, sort_keys=False, default_flow_style=None, width=1000
    )
    return HEADER + body


def main() -> None:
    """Write runs.yaml, or check it."""
    parser = argparse.ArgumentParser(prog="python -m stages.plan", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if out of date")
    parser.add_argument("--stamp", type=Path, help="with --check: a file to write if all is well")
    arguments = parser.parse_args()
    try:
        text = render(load_params())
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"plan: {error}")
    current = ROWS.read_text() if ROWS.exists() else ""
    if not arguments.check:
        if text != current:
            ROWS.write_text(text)
        return
    if text != current:
        sys.exit("plan: params.yaml was edited and runs.yaml is not up to date; run `make plan`")
    if arguments.stamp is not None:
        arguments.stamp.parent.mkdir(parents=True, exist_ok=True)
        arguments.stamp.write_text("runs.yaml is what params.yaml says\n")


if __name__ == "__main__":
    main()
