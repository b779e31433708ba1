"""A stage that is killed with SIGKILL goes on where it was, and redoes nothing."""

import signal
import subprocess
import sys
import time

import pytest
from safetensors.numpy import load_file, save_file

from tests.stages.workspace import Workspace

SECONDS = 90
DATA = ("--data", "out/data/clean/train.safetensors")
RETRAIN = (
    "stages",
    "retrain",
    "mnist-lr",
    "subsets",
    *DATA,
    "--committed",
    "truth",
    "--out",
    "artifacts/retrained",
)


@pytest.fixture
def workspace(tmp_path):
    """A workspace with samples and enough to do for a kill in the middle."""
    workspace = Workspace.make(tmp_path / "project")
    place = ("settings", "mnist-lr")
    workspace.edit(*place, "setting", value="mnist-mlp")
    workspace.edit(*place, "data", "n_train", value=400)
    workspace.edit(*place, "train", value={"ensemble": {"runs": 1}})
    for method in ("gauss-newton-2", "trak-3"):
        workspace.edit("methods", method, "count", value=1)
    workspace.edit(*place, "truth", "subsets", value=20)
    workspace.edit("stores", "loss", "block", value=4)
    workspace.run("stages", "data", "mnist-lr", "--source", "data", "--out", "out/data")
    return workspace


def start(workspace, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=workspace.folder, env=workspace.environment
    )


def kill_when(process, condition):
    """Wait until the condition holds, then kill."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline, "the stage did not get that far"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_retraining_goes_on_at_the_model(workspace):
    work = workspace.folder / "work"

    def finished():
        return sorted(work.rglob("model-*.safetensors"))

    kill_when(start(workspace, *RETRAIN), lambda: len(finished()) >= 3)
    kept = finished()
    assert 3 <= len(kept) < 40
    # A mark that retraining could never make shows whether a finished model was made again.
    marked = {name: array * 0 + 7 for name, array in load_file(kept[0]).items()}
    save_file(marked, kept[0])
    workspace.run(*RETRAIN)
    made = sorted((workspace.folder / "artifacts" / "retrained").glob("model-*.safetensors"))
    assert len(made) == 40
    for path in made:
        again = all((array == 7).all() for array in load_file(path).values())
        assert again == (path.name == kept[0].name), "a finished model was trained again"


def test_gradients_go_on_at_the_block(workspace):
    workspace.run("stages", "train", "mnist-lr", *DATA, "--out", "artifacts/models")
    command = (
        "stages", "gradients", "mnist-lr", "loss", *DATA, "--models", "artifacts/models",
        "--code", "artifacts/code/mnist-lr/gradients/loss.json",
        "--out", "artifacts/gradients", "--cost", "artifacts/cost.json",
    )  # fmt: skip
    workspace.run(
        "stages", "code", "--params", "params.yaml", "--settings", "settings",
        "--sources", "headwater", "stages", "--out", "artifacts/code",
    )  # fmt: skip
    work = workspace.folder / "work"

    def marks():
        return list(work.rglob("blocks/*.json"))

    kill_when(start(workspace, *command), lambda: len(marks()) >= 5)
    before = {path.name: path.stat().st_mtime_ns for path in marks()}
    assert 5 <= len(before) < 100
    workspace.run(*command)
    made = workspace.folder / "artifacts" / "gradients" / "00" / "blocks"
    after = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    assert len(after) == 100
    assert all(after[name] == stamp for name, stamp in before.items())


def test_other_parameters_start_afresh(workspace):
    work = workspace.folder / "work"
    kill_when(start(workspace, *RETRAIN), lambda: bool(list(work.rglob("model-*.safetensors"))))
    first = {path.name for path in (work / "artifacts" / "retrained").iterdir() if path.is_dir()}
    workspace.edit("seed", value=1)
    workspace.edit("settings", "mnist-lr", "truth", "subsets", value=3)
    workspace.run(*RETRAIN)
    left = {path.name for path in (work / "artifacts" / "retrained").iterdir() if path.is_dir()}
    assert len(first) == 1
    assert not left, "the scratch folder of the old parameters must be gone"
