"""Stage removal on the smoke configuration: what is removed, trained, kept and said."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import torch

from headwater.benchmark.settings import get_setting
from headwater.benchmark.training import train_model
from stages.manifest import Model
from stages.problem import file_hash, load_split
from tests.stages.workspace import changed

MADE = "artifacts/truth/mnist-lr/removal"
COMMAND = (
    "stages", "removal", "mnist-lr", "--code", "artifacts/code/mnist-lr/removal.json",
    "--data", "artifacts/data/mnist-lr/clean", "--scores", "artifacts/scores/mnist-lr", "--out", MADE,
)  # fmt: skip


def arrays(workspace):
    folder = workspace.folder / MADE
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


def record(workspace, name):
    return json.loads((workspace.folder / MADE / f"{name}.json").read_text())


def banked(workspace):
    return {p.name: p for p in (workspace.folder / "work" / MADE).rglob("*.npy")}


def test_what_is_removed_are_the_most_helpful_samples_of_reported_queries(done):
    found, design = arrays(done), record(done, "design")
    scores = np.load(done.folder / "artifacts/scores/mnist-lr/if-cg/scores.npy")
    assert len(set(design["queries"])) == 4 and min(design["queries"]) >= 20
    assert found["masks"].shape == (len(found["loss"]), 300)
    assert (
        found["loss"].shape
        == found["right"].shape
        == found["margin"].shape
        == (len(found["masks"]), 60)
    )
    assert design["counts"] == [15, 60]
    method = design["methods"]["if-cg"]
    assert method["function"] == "loss"
    for count, of_seeds in zip(design["counts"], method["top"], strict=True):
        for places in of_seeds:
            for query, place in zip(design["queries"], places, strict=True):
                lowest = sorted(range(300), key=lambda i: scores[i, query])[:count]
                assert set(np.flatnonzero(~found["masks"][place])) == set(lowest)
    for count, places in zip(design["counts"], design["random"], strict=True):
        assert [(~found["masks"][place]).sum() for place in places] == [count] * 2
    assert found["masks"][design["full"]].all()


def test_every_model_is_what_its_seed_and_subset_make(done):
    found, listed = arrays(done), record(done, "manifest")["models"]
    data = done.folder / "artifacts/data/mnist-lr/clean"
    setting = get_setting("mnist-lr")
    train, test = (
        load_split(data / f"{s}.safetensors", torch.device("cpu")) for s in ("train", "test")
    )
    for place in (0, len(listed) - 1):
        model = Model(listed[place]["seed"], found["masks"][place])
        assert model.digest == listed[place]["subset"]
        (end,) = train_model(setting, *train, model.seed, model.subset)
        loss = setting.targets["loss"](
            lambda x, state=end.state: functional(setting, state, x), test
        )
        np.testing.assert_allclose(found["loss"][place], loss, rtol=1e-4, atol=1e-6)
    right = np.asarray(functional(setting, end.state, test[0]).argmax(1) == test[1])
    np.testing.assert_array_equal(found["right"][-1], right)


def functional(setting, state, inputs):
    model = setting.make_model()
    model.load_state_dict(state)
    return model(inputs).detach()


def test_every_manifest_names_files_and_recipe(done):
    for kind in ("subsets", "leave-one-out"):
        folder = done.folder / "artifacts/retrained/mnist-lr" / kind
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["recipe"]["learning_rate"] == 0.01
        hashes = {m["file"]: m["sha256"] for m in manifest["models"]}
        assert hashes == {p.name: file_hash(p) for p in folder.glob("model-*")}
        truth = done.folder / "artifacts/truth/mnist-lr" / kind
        kept = json.loads((truth / "manifest.json").read_text())
        assert kept["models"] == manifest["models"] and len(kept["test"]) == 64
    masks = np.load(done.folder / "artifacts/truth/mnist-lr/subsets/masks.npy")
    path = done.folder / "artifacts/truth/mnist-lr/subsets/manifest.json"
    models = json.loads(path.read_text())["models"]
    assert [m["subset"] for m in models[::2]] == [Model(0, mask).digest for mask in masks]


def test_metrics_are_in_the_tables_and_in_dvc(done):
    shown = json.loads((done.folder / "artifacts/metrics/mnist-lr/if-cg.json").read_text())
    assert {"qld_5pct", "qld_20pct", "brittleness"} <= set(shown)
    board = (done.folder / "results/mnist-lr/leaderboard.md").read_text()
    assert "| QLD 5 % | QLD 20 % | brittleness |" in board
    assert shown["qld_20pct"] > 0, "what a method ranks highest must help more than chance"
    summary = json.loads((done.folder / "results/mnist-lr/summary.json").read_text())
    assert summary["brittleness"]["any"]["method"] == "if-cg"


def test_a_change_of_another_method_trains_nothing_again(workspace):
    before, stamps = (
        workspace.locked(),
        {n: p.stat().st_mtime_ns for n, p in banked(workspace).items()},
    )
    workspace.edit("methods", "gauss-newton-2", "solver", "damping", value=0.02)
    workspace.run("dvc", "repro", "settings/mnist-lr/dvc.yaml:removal")
    assert "score@gauss-newton-2" in changed(before, workspace.locked())
    assert "removal" not in changed(before, workspace.locked())
    assert {n: p.stat().st_mtime_ns for n, p in banked(workspace).items()} == stamps


def test_other_queries_train_only_what_is_new_and_none_leave_nothing(workspace):
    before = set(banked(workspace))
    workspace.edit("settings", "mnist-lr", "removal", "queries", value=5)
    workspace.edit("settings", "mnist-lr", "removal", "largest", value=0.0)
    workspace.run(*COMMAND)
    assert record(workspace, "design")["largest"] == 0
    new = set(banked(workspace)) - before
    assert 0 < len(new) < 5 * 4, "models of the queries that were asked before are there"
    workspace.edit("settings", "mnist-lr", "removal", value={})
    workspace.run("dvc", "repro", "settings/mnist-lr/dvc.yaml")
    assert record(workspace, "manifest") == {"models": []}
    assert not arrays(workspace)
    assert "QLD" not in (workspace.folder / "results/mnist-lr/leaderboard.md").read_text()


def test_a_killed_run_goes_on_at_the_model(workspace):
    for path in banked(workspace).values():
        path.unlink()
    wanted = {p.name: p.read_bytes() for p in (workspace.folder / MADE).iterdir()}
    process = subprocess.Popen(
        [sys.executable, "-m", *COMMAND], cwd=workspace.folder, env=workspace.environment
    )
    deadline = time.monotonic() + 90
    while len(banked(workspace)) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = banked(workspace)
    stamps = {name: path.stat().st_mtime_ns for name, path in kept.items()}
    assert 3 <= len(kept) < len(record(workspace, "manifest")["models"])
    workspace.run(*COMMAND)
    again = banked(workspace)
    assert {name: again[name].stat().st_mtime_ns for name in kept} == stamps
    assert {p.name: p.read_bytes() for p in (workspace.folder / MADE).iterdir()} == wanted


def test_scores_that_cannot_be_ranked_are_one_line(workspace):
    path = workspace.folder / "artifacts/scores/mnist-lr/if-cg/scores.npy"
    scores = np.load(path) * np.nan
    path.unlink()  # a link to what DVC keeps
    np.save(path, scores)
    stopped = workspace.run(*COMMAND, check=False)
    assert stopped.returncode == 1
    (line,) = stopped.stderr.splitlines()
    assert line.startswith("removal mnist-lr: ") and "scores must be finite" in line


def test_a_method_that_is_left_out_is_said_and_the_rest_goes_on(workspace):
    path = workspace.folder / "artifacts/scores/mnist-lr/if-cg/choice.json"
    path.unlink()
    path.write_text('{"left_out": "too dear", "listed": true}')
    assert "removal goes on without if-cg: too dear" in workspace.run(*COMMAND).stderr
    assert not record(workspace, "design")["methods"]
