"""A bad params.yaml is one clear line before any work."""

import copy
import sys

import pytest
import yaml

from stages import plan
from stages.params import load_params
from tests.stages.workspace import ROOT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def params():
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["plan", *arguments])
    plan.main()


def test_rows_are_written_and_checked(folder, params, monkeypatch):
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(SystemExit, match="run `make plan`"):
        run(monkeypatch, "--check")
    run(monkeypatch)
    run(monkeypatch, "--check", "--stamp", "stamp.txt")
    assert (folder / "stamp.txt").exists()
    params["methods"]["trak-1"]["damping"] = 7.0
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(SystemExit, match=r"params\.yaml was edited"):
        run(monkeypatch, "--check")


BAD = {
    "unknown key": (("methods", "trak-1", "dampign"), 1.0, "methods.trak-1.dampign: unknown key"),
    "wrong type": (("settings", "mnist-lr", "n_train"), "many", "settings.mnist-lr.n_train"),
    "negative damping": (("methods", "trak-1", "damping"), -1.0, "greater than or equal to 0"),
    "unknown setting": (("settings", "mnist-cnn"), "COPY", "mnist-cnn is unknown"),
    "unknown store": (("methods", "grad-dot", "store"), "nowhere", "is none of"),
    "wrong store": (("methods", "trak-1", "store"), "loss", "needs a store of function margin"),
    "unknown only": (("methods", "trak-50", "only"), ["mnist"], "names the setting 'mnist'"),
    "too many": (("methods", "trak-10", "count"), 11, "count must be at most"),
    "no trajectory": (("methods", "tracin-10", "store"), "loss", "checkpoints: trajectory"),
    "unknown attributor": (("methods", "trak-1", "attributor"), "TRAKK", "'TRAKK' is unknown"),
    "foreign setting": (("methods", "grad-dot", "neighbours"), 3, "GradDot takes no neighbours"),
    "missing setting": (("methods", "knn-shapley", "neighbours"), None, "KNNShapley needs neighbours"),
    "learned projection": (
        ("stores", "logra", "projection"), {"kind": "Arnoldi", "dimension": 3},
        "Arnoldi is a projection of TRAK's",
    ),
    "no solver": (("methods", "fisher-1", "solver"), None, "InfluenceFunction needs solver"),
    "wrong pair": (("methods", "fisher-1", "curvature"), "Hessian", "Woodbury goes with"),
    "tune": (("settings", "mnist-lr", "n_tune"), 500, "n_tune must be below n_test"),
    "damping of one setting": (
        ("methods", "trak-1", "damping"), {"mnist-lr": 1.0}, "must give a damping for mnist-mlp",
    ),
    "projection": (("stores", "projected", "projection"), None, "needs a projection"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_every_mistake_is_one_line(folder, params, case):
    keys, value, message = BAD[case]
    place = params
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = copy.deepcopy(place["mnist-lr"]) if value == "COPY" else value
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        load_params()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_yaml_is_one_line(folder):
    (folder / "params.yaml").write_text("seed: [")
    with pytest.raises(ValueError, match="must be YAML") as caught:
        load_params()
    assert "\n" not in str(caught.value)


def test_methods_that_differ_in_damping_share_their_curvature(params):
    rows = plan.plan(load_params(ROOT / "params.yaml"))
    shared = rows["curvature"]["mnist-mlp_projected-gram"]
    assert shared["count"] == 10
    assert rows["solve"]["mnist-mlp_trak-1"]["curvature"] == "curvature/mnist-mlp/projected-gram"
    assert "mnist-mlp_if-explicit" not in rows["solve"]


def test_a_method_for_some_settings_has_no_row_in_the_others(params):
    rows = plan.plan(load_params(ROOT / "params.yaml"))
    tables = rows["report"]["all"]["settings"]
    assert params["methods"]["trak-50"]["only"] == ["mnist-mlp"]
    assert "trak-50" in tables["mnist-mlp"]["methods"]
    assert "trak-50" not in tables["mnist-lr"]["methods"]
    assert "mnist-lr_trak-50" not in rows["score"]
    assert "mnist-lr_projected-early_train" not in rows["gradients"]
    assert "if-explicit" in tables["mnist-mlp"]["methods"], "infeasible, and the table says why"
