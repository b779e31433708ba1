"""params.yaml, runs.yaml, the row types of the stages and dvc.yaml say the same."""

from __future__ import annotations

import importlib

import pytest
import yaml

from stages.params import load_params
from stages.plan import plan, render
from stages.runner import Row
from tests.architecture.imports import ROOT

ROW_TYPES = {
    "prepare": ("stages.prepare", "PrepareRow"),
    "train": ("stages.train", "TrainRow"),
    "retrain": ("stages.retrain", "RetrainRow"),
    "ground_truth": ("stages.retrain", "RetrainRow"),
    "gradients": ("stages.gradients", "GradientsRow"),
    "curvature": ("stages.methods", "MethodRow"),
    "tune": ("stages.methods", "MethodRow"),
    "solve": ("stages.methods", "MethodRow"),
    "score": ("stages.methods", "MethodRow"),
    "self_influence": ("stages.methods", "MethodRow"),
    "evaluate": ("stages.evaluate", "EvaluateRow"),
    "report": ("stages.report", "ReportRow"),
}


@pytest.mark.parametrize("name", ["params.yaml", "params.smoke.yaml"])
def test_every_planned_row_fits_its_stage(name: str) -> None:
    rows = plan(load_params(ROOT / name))
    assert set(rows) == set(ROW_TYPES)
    for stage, found in rows.items():
        module, kind = ROW_TYPES[stage]
        row_type: type[Row] = getattr(importlib.import_module(module), kind)
        assert found, f"{name} plans no run of {stage}"
        for row in found.values():
            row_type.model_validate(row)


def test_committed_rows_are_those_of_params() -> None:
    assert (ROOT / "runs.yaml").read_text() == render(load_params(ROOT / "params.yaml")), (
        "runs.yaml is out of date: run `make plan`"
    )


def test_every_stage_tracks_its_own_row_and_nothing_else() -> None:
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(graph) == {"plan", *ROW_TYPES}
    for stage, definition in graph.items():
        entry = definition.get("do", definition)
        key = "all" if stage == "report" else "${key}"
        wanted = None if stage == "plan" else [{"runs.yaml": [f"runs.{stage}.{key}"]}]
        assert entry.get("params") == wanted
