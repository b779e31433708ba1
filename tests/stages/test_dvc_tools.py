"""DVC's own commands on the real graph, as docs/workflow.md shows them."""

import json

import pytest

from stages.problem import file_hash
from tests.stages.webdav import webdav_server
from tests.stages.workspace import Workspace

METHOD = "methods.gauss-newton-2.solver.damping"


def test_status_says_what_an_edit_changed(repository):
    assert "up to date" in repository.run("dvc", "status").stdout
    repository.edit("methods", "gauss-newton-2", "solver", "damping", value=0.02)
    shown = repository.run("dvc", "status").stdout
    assert "settings/mnist-lr/dvc.yaml:solve@gauss-newton-2:" in shown
    assert "methods.gauss-newton-2" in shown
    assert "solve@grad-dot" not in shown


def test_dag_draws_the_chain(workspace):
    shown = workspace.run("dvc", "dag", "--dot").stdout
    for edge in (
        '"settings/mnist-lr/dvc.yaml:solve@grad-dot" -> "settings/mnist-lr/dvc.yaml:score@grad-dot"',
        '"settings/mnist-lr/dvc.yaml:report" -> "summary@mnist-lr"',
        '"code" -> "settings/mnist-lr/dvc.yaml:data"',
    ):
        assert edge in shown


def test_params_and_metrics_and_plots(repository):
    table = repository.run("dvc", "metrics", "show", "--md").stdout
    assert "artifacts/metrics/mnist-lr/grad-dot.json" in table
    assert "| lds" in table
    repository.edit("methods", "gauss-newton-2", "solver", "damping", value=0.02)
    changes = json.loads(repository.run("dvc", "params", "diff", "--json").stdout)
    assert changes["params.yaml"][METHOD]["new"] == 0.02
    repository.run("dvc", "repro")
    found = json.loads(repository.run("dvc", "metrics", "diff", "--json").stdout)
    method = found["artifacts/metrics/mnist-lr/gauss-newton-2.json"]
    assert method["damping"]["new"] == 0.02
    plots = json.loads(repository.run("dvc", "plots", "show", "--json").stdout)
    assert any("cost.json" in name for name in plots["data"])
    assert any("damping.json" in name for name in plots["data"])


@pytest.mark.slow
def test_experiments(repository):
    repository.run("dvc", "exp", "run", "-S", f"{METHOD}=0.02")
    for value in ("0.03", "0.04"):
        repository.run("dvc", "exp", "run", "--queue", "-S", f"{METHOD}={value}")
    repository.run("dvc", "exp", "run", "--run-all")
    shown = repository.run("dvc", "exp", "show", "--csv").stdout
    found = {line for line in shown.splitlines() if ",commit," not in line}
    for value in ("0.02", "0.03", "0.04"):
        assert any(value in line for line in found), shown


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "webdav"])
def test_a_colleague_gets_results_without_computing_them(repository, tmp_path, kind):
    share = tmp_path / "share"
    share.mkdir()
    with webdav_server(share) as address:
        url = str(share) if kind == "local" else address
        repository.run("dvc", "remote", "add", "-d", "shared", url)
        repository.git("add", "-A")
        repository.git("commit", "-qm", "Remote")
        repository.run("dvc", "push")
        repository.git("clone", "-q", ".", str(tmp_path / "colleague"))
        colleague = Workspace(tmp_path / "colleague")
        for group in ("train", "retrain", "truth", "score"):
            colleague.run("dvc", "pull", f"settings/mnist-lr/dvc.yaml:{group}")
        for made in (
            "models/mnist-lr/clean/record.json", "truth/mnist-lr/subsets/masks.npy",
            "scores/mnist-lr/grad-dot/scores.npy",
        ):  # fmt: skip
            theirs = colleague.folder / "artifacts" / made
            assert theirs.read_bytes() == (repository.folder / "artifacts" / made).read_bytes()
        states = colleague.folder / "artifacts/retrained/mnist-lr/subsets"
        for model in json.loads((states / "manifest.json").read_text())["models"]:
            assert file_hash(states / model["file"]) == model["sha256"]
        assert not (colleague.folder / "artifacts/gradients").exists()
        colleague.run("dvc", "pull")
        again = colleague.run("dvc", "repro").stdout
        assert "Running stage" not in again
        assert "up to date" in colleague.run("dvc", "status").stdout
