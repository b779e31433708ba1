"""Committed ground truth is taken in place of retraining where it is what would be made."""

import json

import numpy as np
import pytest

from tests.stages.workspace import changed

PLACE = ("settings", "mnist-lr", "truth", "committed")


def publish(workspace):
    """Publish the ground truth of the workspace and return the digest."""
    shown = workspace.run("pipelines.publish", "mnist-lr").stdout
    key, _, digest = shown.strip().partition(": ")
    assert key == ".".join(PLACE)
    return digest


def retrain(workspace, check=True):
    return workspace.run(
        "stages", "retrain", "mnist-lr", "subsets",
        "--data", "artifacts/data/mnist-lr/clean/train.safetensors",
        "--committed", "truth/mnist-lr", "--out", "made", check=check,
    )  # fmt: skip


def test_the_same_truth_without_retraining(workspace):
    digest = publish(workspace)
    folder = workspace.folder / "truth/mnist-lr"
    assert {path.name for path in folder.iterdir()} == {
        "manifest.json", "subsets", "leave-one-out", "removal",
    }  # fmt: skip
    for path in folder.rglob("*.npy"):
        np.load(path, allow_pickle=False)
    before = workspace.locked()
    workspace.edit(*PLACE, value=digest)
    workspace.run("dvc", "repro", "settings/mnist-lr/dvc.yaml")
    assert changed(before, workspace.locked()) == {"retrain@subsets", "retrain@leave-one-out"}
    made = workspace.folder / "artifacts/retrained/mnist-lr"
    assert not list(made.rglob("*.safetensors"))
    assert json.loads((made / "subsets/manifest.json").read_text())["committed"] == digest
    assert publish(workspace) == digest, "what was taken can be published again"


BAD = {
    "another digest": (PLACE, "0" * 16, "must have the digest 0000"),
    "another seed": (("seed",), 1, "must hold the models"),
    "more subsets": (("settings", "mnist-lr", "truth", "subsets"), 7, "must hold the models"),
    "another setting": (("settings", "mnist-lr", "setting"), "mnist-mlp", "must hold the setting"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_one_line(workspace, case):
    workspace.edit(*PLACE, value=publish(workspace))
    place, value, message = BAD[case]
    workspace.edit(*place, value=value)
    (line,) = retrain(workspace, check=False).stderr.splitlines()
    assert line.startswith("retrain mnist-lr subsets: ") and message in line


def test_other_samples_and_damaged_files_are_refused_in_one_line(workspace):
    workspace.edit(*PLACE, value=publish(workspace))
    retrain(workspace)
    workspace.edit("settings", "mnist-lr", "data", "n_test", value=50)
    stopped = workspace.run("dvc", "repro", "settings/mnist-lr/dvc.yaml:truth", check=False)
    assert "committed outputs must be of the test samples" in stopped.stderr
    workspace.edit("settings", "mnist-lr", "data", "n_train", value=290)
    stopped = workspace.run("dvc", "repro", "settings/mnist-lr/dvc.yaml:truth", check=False)
    assert "must hold the train that params.yaml" in stopped.stderr
    path = workspace.folder / "truth/mnist-lr/subsets/loss.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (line,) = retrain(workspace, check=False).stderr.splitlines()
    assert "loss.npy must be as it was published" in line


def test_nothing_to_publish_is_one_line(workspace):
    stopped = workspace.run("pipelines.publish", "mnist-mlp", check=False)
    assert stopped.returncode == 1
    (line,) = stopped.stderr.splitlines()
    assert "must hold what retrained models say" in line
