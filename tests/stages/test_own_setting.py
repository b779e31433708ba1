"""The steps of examples/own_setting in a throw-away copy of the project, from samples to a table."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from tests.stages.workspace import ROOT, Workspace

FOLDER = ROOT / "examples" / "own_setting"
COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A copy of the project in which somebody has followed the page, and run the new setting."""
    workspace = Workspace.make(tmp_path_factory.mktemp("own") / "copy")
    shutil.copytree(FOLDER, workspace.folder / "examples/own_setting")
    (commands,) = COMMANDS.findall((FOLDER / "README.md").read_text())
    subprocess.run(["bash", "-euc", commands], cwd=workspace.folder, check=True)
    for group, entries in yaml.safe_load((FOLDER / "params.yaml").read_text()).items():
        for name, entry in entries.items():
            workspace.edit(group, name, value=entry)
    workspace.run("pipelines.benchmark", "settings/wine/dvc.yaml")
    return workspace


def stale(workspace):
    """Return the stages of the new setting that DVC would run, once `code` has run."""
    workspace.run("dvc", "repro", "-s", "code")
    shown = workspace.run("dvc", "status", "--json", "settings/wine/dvc.yaml").stdout
    return {name.rpartition(":")[2] for name in json.loads(shown)}


@pytest.mark.slow
def test_a_setting_by_import_path_runs_to_its_table(own):
    board = (own.folder / "results/wine/leaderboard.md").read_text()
    assert "relative-dot" in board and "trak-3" in board
    record = json.loads((own.folder / "results/wine/metrics.json").read_text())
    found = {name: entry["lds"]["value"] for name, entry in record["methods"].items()}
    assert found["gauss-newton-2"] > 0.2, "the method of the setting's own curvature explains it"
    assert found["relative-dot"] != found["grad-dot"]
    assert not (own.folder / "artifacts/models/mnist-lr").exists(), "no other setting is run"


@pytest.mark.slow
def test_an_edit_of_the_package_runs_its_stages_and_no_others(own):
    assert stale(own) == set()
    own.comment("mine/relative_dot.py")
    assert stale(own) == {"solve@relative-dot", "score@relative-dot"}
