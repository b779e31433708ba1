"""The real graph on the smoke configuration: what an edit runs again, and what it does not."""

import json
import shutil

import pytest
import yaml

from tests.stages.workspace import Workspace, changed

MINE = '''"""A method of a user's own."""

from headwater.attributors import GradDot


class HalfDot(GradDot):
    """Grad-Dot, halved."""

    def __init__(self, task, factor: float = 0.5) -> None:
        super().__init__(task)
        self.factor = factor

    def checkpoint_weight(self, index: int, count: int) -> float:
        return self.factor / count
'''


def metrics(workspace, method):
    return json.loads((workspace.folder / f"artifacts/metrics/mnist-lr/{method}.json").read_text())


def test_everything_is_made_and_shown(done):
    assert done.stale() == set()
    results = done.folder / "results" / "mnist-lr"
    board = (results / "leaderboard.md").read_text()
    assert all(name in board for name in ("grad-dot", "if-cg", "gauss-newton-2", "trak-3"))
    figures = {path.name for path in (results / "figures").iterdir()}
    assert figures == {f"{metric}.png" for metric in ("lds", "loo", "auc", "cost", "removal")}


def test_nothing_is_left_to_do(done):
    shown = done.run("pipelines.benchmark").stdout
    assert "stages are up to date" in shown
    assert "gauss-newton-2" in shown, "the table must be shown when nothing ran, too"
    left = (done.folder / "work").rglob("*.safetensors")
    assert not [path for path in left if "query" not in path.parts]


def test_editing_one_method_and_plain_dvc_runs_only_its_own_stages(workspace):
    workspace.edit("methods", "gauss-newton-2", "solver", "damping", value=0.02)
    own = {"solve@gauss-newton-2", "score@gauss-newton-2"}
    assert workspace.stale() == {*own, "evaluate"}
    before = workspace.locked()
    shown = workspace.run("dvc", "repro").stdout
    ran = {line.split("'")[1] for line in shown.splitlines() if line.startswith("Running stage")}
    assert {name.rpartition(":")[2] for name in ran} == {
        *own,
        "removal",
        "evaluate",
        "report",
        "explore",
        "summary@mnist-lr",
    }
    assert changed(before, workspace.locked()) == {*own, "evaluate", "explore"}
    assert metrics(workspace, "gauss-newton-2")["damping"] == 0.02


def test_the_damping_is_the_best_on_the_tuning_samples(done):
    choice = done.folder / "artifacts/solve/mnist-lr/gauss-newton-2/choice.json"
    found = json.loads(choice.read_text())
    assert [point["damping"] for point in found["curve"]] == [0.01, 0.1]
    best = max(found["curve"], key=lambda point: point["lds"])
    assert found["damping"] == best["damping"]
    evaluation = done.folder / "artifacts/evaluation/mnist-lr.json"
    record = json.loads(evaluation.read_text())["methods"]["gauss-newton-2"]
    assert record["damping"] == best["damping"]
    assert record["tune"]["lds"]["value"] == pytest.approx(best["lds"], abs=2e-4)


def test_a_new_method_on_an_existing_store_trains_nothing(workspace):
    recipe = {
        "attributor": "InfluenceFunction",
        "store": "loss",
        "curvature": "EmpiricalFisher",
        "solver": {"kind": "Woodbury", "damping": 0.001},
    }
    workspace.edit("methods", "fisher-1", value=recipe)
    assert workspace.stale() == {"solve@fisher-1", "score@fisher-1", "evaluate"}


def test_a_renamed_method_is_a_new_one_and_a_removed_one_is_in_no_table(workspace):
    recipe = workspace.params()["methods"]["grad-dot"]
    workspace.edit("methods", "grad-dot", value=None)
    workspace.edit("methods", "dot", value=recipe)
    assert workspace.stale() == {"solve@dot", "score@dot", "evaluate"}
    workspace.run("dvc", "repro")
    board = (workspace.folder / "results/mnist-lr/leaderboard.md").read_text()
    assert "dot" in board and "grad-dot" not in board
    assert workspace.stale() == set()


def test_a_method_that_is_left_out_is_answered_by_its_stages(workspace):
    workspace.edit("methods", "trak-3", "infeasible", value={"mnist-lr": "too dear"})
    workspace.run("dvc", "repro")
    board = (workspace.folder / "results/mnist-lr/leaderboard.md").read_text()
    assert "infeasible: too dear" in board
    assert metrics(workspace, "trak-3") == {"infeasible": 1}
    workspace.edit("methods", "trak-3", "infeasible", value=None)
    workspace.run("dvc", "repro")
    assert metrics(workspace, "trak-3")["damping"] == "auto"


def test_the_budget_leaves_out_a_method_with_its_figures(workspace):
    budget = {"memory": "20GB", "disk": "1GB", "minutes": 1, "gflops": 0.1}
    workspace.edit("budget", value=budget)
    assert workspace.stale() == {"solve@if-cg"}
    workspace.run("dvc", "repro")
    board = (workspace.folder / "results/mnist-lr/leaderboard.md").read_text()
    assert "infeasible: needs 2 minutes, the budget has 1" in board
    assert not list((workspace.folder / "artifacts/solve/mnist-lr/if-cg").glob("*.safetensors"))
    design = json.loads(
        (workspace.folder / "artifacts/truth/mnist-lr/removal/design.json").read_text()
    )
    assert not design["methods"], "nothing is removed by the scores of a method that is left out"
    workspace.edit("budget", "minutes", value=100)
    assert workspace.stale() == {"solve@if-cg"}


def test_a_new_test_set_retrains_nothing(workspace):
    workspace.edit("settings", "mnist-lr", "data", "n_test", value=50)
    before = workspace.locked()
    workspace.run("pipelines.benchmark")
    found = changed(before, workspace.locked())
    assert {"data", "truth", "test_gradients@loss"} <= found
    kinds = {name.split("@")[0] for name in found}
    assert not kinds & {"train", "retrain", "gradients"}


@pytest.mark.parametrize(
    ("source", "stages"),
    [
        ("headwater/metrics/estimate.py", {"solve", "evaluate"}),
        ("headwater/benchmark/training/seeds.py", {"data", "train", "retrain", "truth", "removal"}),
        ("headwater/solvers/explicit.py", {"solve", "score"}),
        ("headwater/benchmark/models/logistic_regression.py",
         {"data", "train", "retrain", "truth", "gradients", "test_gradients", "solve", "score",
          "removal", "explore"}),
        ("headwater/explorer/assets/list.js", {"explore"}),
        ("headwater/benchmark/figures.py", {"report"}),
    ],
)  # fmt: skip
def test_a_comment_runs_only_the_stages_that_import_the_module(workspace, source, stages):
    workspace.comment(source)
    assert {name.split("@")[0] for name in workspace.stale()} == stages


def test_a_comment_in_one_attributor_runs_only_its_methods(workspace):
    workspace.comment("headwater/attributors/trak.py")
    assert workspace.stale() == {"solve@trak-3", "score@trak-3"}


def test_a_new_attributor_is_one_file_and_runs_none_of_the_old(workspace):
    source = MINE.replace('"""A method of', '"""A method of').replace(
        "from headwater.attributors import GradDot",
        'from headwater.attributors.grad_dot import GradDot\n\n__all__ = ["HalfDot"]',
    )
    (workspace.folder / "headwater/attributors/half_dot.py").write_text(source)
    assert workspace.stale() == set()
    workspace.edit("methods", "half", value={"attributor": "HalfDot", "store": "loss"})
    assert workspace.stale() == {"solve@half", "score@half", "evaluate"}
    workspace.run("dvc", "repro")
    assert metrics(workspace, "half")["lds"] == metrics(workspace, "grad-dot")["lds"]


def test_a_method_by_import_path_and_its_code_is_watched(workspace):
    package = workspace.folder / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "half.py").write_text(MINE)
    recipe = {"attributor": "mine.half:HalfDot", "store": "loss", "factor": 0.25}
    workspace.edit("methods", "half", value=recipe)
    refused = workspace.run("dvc", "repro", check=False)
    assert "add mine to the deps and the --sources of code in dvc.yaml" in refused.stderr
    root = workspace.folder / "dvc.yaml"
    text = root.read_text()
    text = text.replace("headwater stages\n", "headwater stages mine\n").replace(
        "headwater, stages]", "headwater, stages, mine]"
    )
    root.write_text(text)
    workspace.run("dvc", "repro")
    assert metrics(workspace, "half")["lds"] == metrics(workspace, "grad-dot")["lds"]
    workspace.comment("mine/half.py")
    assert workspace.stale() == {"solve@half", "score@half"}
    workspace.comment("headwater/attributors/grad_dot.py")
    assert {"solve@half", "solve@grad-dot"} <= workspace.stale()


def test_a_bad_params_yaml_stops_before_any_work_with_one_line(workspace):
    workspace.edit("methods", "trak-3", "dampign", value=2.0)
    message = "methods.trak-3: TRAK takes no 'dampign'"
    stopped = workspace.run("dvc", "repro", check=False)
    assert stopped.returncode != 0
    assert message in stopped.stderr
    assert "Traceback" not in stopped.stdout + stopped.stderr
    flow = workspace.run("pipelines.benchmark", check=False)
    assert flow.returncode == 1
    assert message in flow.stdout + flow.stderr
    assert "Traceback" not in flow.stdout + flow.stderr


def test_a_setting_alone(done, tmp_path):
    workspace = done.copy(tmp_path / "copy")
    shutil.rmtree(workspace.folder / "artifacts/scores")
    workspace.run("dvc", "repro", "settings/mnist-lr/dvc.yaml")
    assert (workspace.folder / "artifacts/scores/mnist-lr/grad-dot/scores.npy").exists()


@pytest.mark.slow
def test_plain_dvc_records_the_same_bytes(done, tmp_path):
    again = Workspace.make(tmp_path / "again")
    again.run("dvc", "repro")
    first, second = done.locked(), again.locked()
    assert first.keys() == second.keys()
    assert not changed(first, second)
    for name in ("dvc.lock", "settings/mnist-lr/dvc.lock"):
        assert _untimed(done.folder / name) == _untimed(again.folder / name)


def _untimed(lock):
    """Return a lock file without the hashes of what says how long stages took, as text."""
    data = yaml.safe_load(lock.read_text())
    for stage in data["stages"].values():
        for entry in (*stage.get("deps", ()), *stage.get("outs", ())):
            if entry["path"].startswith(("artifacts/cost/", "results/")):
                entry["md5"] = entry["size"] = None
    return yaml.safe_dump(data, sort_keys=False)


@pytest.mark.parametrize("text", ["", "setting: [", "setting: mnist-lr\n"])
def test_a_bad_setting_file_is_one_line(workspace, text):
    (workspace.folder / "settings/mnist-lr/setting.yaml").write_text(text)
    flow = workspace.run("pipelines.benchmark", check=False)
    assert flow.returncode == 1
    (line,) = (flow.stdout + flow.stderr).splitlines()
    assert "settings/mnist-lr" in line


def test_a_gpu_that_is_not_there_is_one_line(workspace, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    workspace.edit("settings", "mnist-lr", "device", value="cuda")
    stopped = workspace.run(
        "stages", "truth", "mnist-lr", "--models", "artifacts/retrained/mnist-lr",
        "--data", "artifacts/data/mnist-lr/clean/test.safetensors", "--out", "out", check=False,
    )  # fmt: skip
    assert stopped.returncode == 1
    (line,) = stopped.stderr.splitlines()
    assert line.startswith("truth mnist-lr: ") and "cuda" in line
