"""The real graph on the smoke configuration: what an edit runs again, and what it does not."""

import json
import re
import shutil

import pytest

from tests.stages.workspace import Workspace

TIMED = ("artifacts/cost/", "results/")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A workspace in which the flow has made everything."""
    workspace = Workspace.make(tmp_path_factory.mktemp("done"))
    workspace.plan()
    workspace.run("pipelines.benchmark")
    return workspace


@pytest.fixture
def workspace(done, tmp_path):
    """A copy of the finished workspace."""
    return done.copy(tmp_path / "copy")


def test_everything_is_made_and_shown(done):
    assert done.stale() == set()
    board = (done.folder / "results" / "leaderboard.md").read_text()
    assert all(name in board for name in ("grad-dot", "if-cg", "gauss-newton-2", "trak-3"))
    figures = {path.name for path in (done.folder / "results" / "figures").iterdir()}
    assert figures == {f"mnist-lr-{metric}.png" for metric in ("lds", "loo", "auc", "cost")}


def test_nothing_is_left_to_do(done):
    shown = done.run("pipelines.benchmark").stdout
    assert "stages are up to date" in shown
    assert "gauss-newton-2" in shown, "the table must be shown when nothing ran, too"
    assert not (done.folder / "work").exists() or not list(
        (done.folder / "work").rglob("*.safetensors")
    )


def test_editing_one_method_runs_only_its_own_stages(workspace):
    workspace.edit("methods", "gauss-newton-2", "solver", "damping", value=0.02)
    workspace.plan()
    key = "mnist-lr_gauss-newton-2"
    noisy = key.replace("_", "-noisy_")
    own = {f"solve@{key}", f"self_influence@{noisy}", f"evaluate@{key}"}
    assert workspace.stale() == {"plan", *own}
    before = workspace.locked()
    shown = workspace.run("pipelines.benchmark")
    ran = set(re.findall(r"\] (\S+) ran,", shown.stdout + shown.stderr))
    assert ran == {"plan", *own, f"score@{key}", "report"}
    after = workspace.locked()
    changed = {name for name in after if before[name] != after[name]}
    assert changed == {*own, f"score@{key}", "report"}


def test_another_damping_to_choose_from_prepares_nothing_again(workspace):
    workspace.edit("methods", "trak-3", "damping", value=[0.5, 1.0, 2.0])
    workspace.plan()
    stale = workspace.stale()
    assert {name.split("@")[0] for name in stale} == {
        "plan", "tune", "solve", "self_influence", "evaluate",
    }  # fmt: skip
    assert all(name == "plan" or name.endswith("_trak-3") for name in stale)


def test_the_damping_is_the_best_on_the_tuning_samples(done):
    tuned = done.folder / "artifacts" / "tune" / "mnist-lr" / "gauss-newton-2.json"
    found = json.loads(tuned.read_text())
    assert [point["damping"] for point in found["curve"]] == [0.01, 0.1]
    best = max(found["curve"], key=lambda point: point["lds"])
    assert found["damping"] == best["damping"]
    metrics = done.folder / "artifacts" / "metrics" / "mnist-lr" / "gauss-newton-2.json"
    record = json.loads(metrics.read_text())
    assert (record["damping"], record["tuned"]) == (best["damping"], True)
    assert record["tune"]["lds"]["value"] == pytest.approx(best["lds"], abs=2e-4)


def test_a_new_method_on_an_existing_store_trains_nothing(workspace):
    recipe = {
        "attributor": "InfluenceFunction",
        "store": "loss",
        "curvature": "EmpiricalFisher",
        "solver": {"kind": "Woodbury", "damping": 0.001},
    }
    workspace.edit("methods", "fisher-1", value=recipe)
    workspace.plan()
    stale = workspace.stale()
    new = {name for name in stale if name.endswith("_fisher-1")}
    assert {name.split("@")[0] for name in new} == {
        "solve", "score", "self_influence", "evaluate",
    }  # fmt: skip
    assert stale - new == {"plan", "report"}


def test_a_new_test_set_retrains_nothing(workspace):
    workspace.edit("settings", "mnist-lr", "n_test", value=50)
    workspace.plan()
    before = workspace.locked()
    workspace.run("pipelines.benchmark")
    after = workspace.locked()
    changed = {name for name in before if before[name] != after[name]}
    assert "prepare@mnist-lr_test" in changed
    assert "ground_truth@mnist-lr_subsets" in changed
    kinds = {name.split("@")[0] for name in changed}
    assert not kinds & {"train", "retrain", "curvature", "self_influence"}
    assert not any(name.startswith("gradients") and "train" in name for name in changed)


@pytest.mark.parametrize(
    ("source", "stages"),
    [
        ("headwater/metrics/estimate.py", {"tune", "evaluate", "report"}),
        ("headwater/retraining/seeds.py", {"prepare", "train", "retrain", "ground_truth"}),
        (
            "headwater/solvers/explicit.py",
            {"curvature", "tune", "solve", "score", "self_influence"},
        ),
        ("stages/figures.py", {"report"}),
    ],
)
def test_a_comment_runs_only_the_stages_that_import_the_module(workspace, source, stages):
    workspace.comment(source)
    assert {name.split("@")[0] for name in workspace.stale()} == stages


def test_a_comment_in_one_attributor_runs_only_its_methods(workspace):
    workspace.comment("headwater/attributors/trak.py")
    stale = workspace.stale()
    assert {name.split("@")[0] for name in stale} == {
        "curvature", "solve", "score", "self_influence",
    }  # fmt: skip
    assert all(name.endswith(("_trak-3", "_projected-gram")) for name in stale)


def test_an_edit_that_was_not_planned_stops_with_one_line(workspace):
    workspace.edit("methods", "trak-3", "damping", value=2.0)
    stopped = workspace.run("dvc", "repro", check=False)
    assert stopped.returncode != 0
    lines = (stopped.stdout + stopped.stderr).splitlines()
    assert any("runs.yaml is not up to date; run `make plan`" in line for line in lines)
    flow = workspace.run("pipelines.benchmark", check=False)
    assert flow.returncode == 1
    assert "run `make plan`" in flow.stdout


@pytest.mark.slow
def test_plain_dvc_gives_the_same_bytes(done, tmp_path):
    again = Workspace.make(tmp_path / "again")
    shutil.copy(done.folder / "params.yaml", again.folder / "params.yaml")
    again.plan()
    again.run("dvc", "repro")
    first, second = done.locked(), again.locked()
    assert first.keys() == second.keys()
    for name, outs in first.items():
        for path, md5 in outs.items():
            if not path.startswith(TIMED):
                assert second[name][path] == md5, f"{name} made other bytes of {path}"
