"""Comparisons: two methods, two folders of results, two revisions."""

import json
import shutil

import numpy as np
import pytest
from scipy.stats import spearmanr


def edit_results(workspace, method, **estimate):
    path = workspace.folder / "results/mnist-lr/metrics.json"
    record = json.loads(path.read_text())
    record["methods"][method]["lds"] = estimate
    path.unlink()
    path.write_text(json.dumps(record))


def scores(made, method):
    return np.load(made.folder / f"artifacts/scores/mnist-lr/{method}/scores.npy")


def test_two_methods_by_metrics_and_by_the_ranks_of_their_scores(ask, made):
    found = ask("compare", "gauss-newton-2", "grad-dot", "-k", 3, "--json")
    assert found.code == 0, found.err
    compared = found.record["settings"]["mnist-lr"]
    reported = ask("report", "--json").record["mnist-lr"]["methods"]
    rows = {row["metric"]: row for row in compared["metrics"]}
    assert rows["lds"]["first"] == reported["gauss-newton-2"]["lds"]
    assert rows["lds"]["second"] == reported["grad-dot"]["lds"]
    assert {"loo", "auc", "seconds"} <= set(rows)
    one, other = scores(made, "gauss-newton-2"), -scores(made, "grad-dot")  # of a loss: turned
    wanted = [spearmanr(one[:, j], other[:, j]).statistic for j in range(one.shape[1])]
    assert compared["scores"]["per_test"] == pytest.approx(wanted, abs=1e-3)
    estimate = compared["scores"]["rank_correlation"]
    assert estimate["low"] < estimate["value"] < estimate["high"]
    assert estimate["value"] == pytest.approx(np.mean(wanted), abs=1e-3)
    worst = compared["scores"]["disagree"]
    assert [found["test"] for found in worst] == np.argsort(wanted)[:3].tolist()
    assert worst[0]["first"][0] == int(one[:, worst[0]["test"]].argmax())


def test_the_table_of_two_methods(ask):
    found = ask("compare", "gauss-newton-2", "grad-dot")
    assert found.code == 0
    for words in ("gauss-newton-2", "grad-dot", "LDS", "difference", "where they disagree most",
                  "rank correlation of the scores, mean over test samples"):  # fmt: skip
        assert words in found.out


def test_two_folders_of_results(ask, made, changed, tmp_path):
    edit_results(changed, "trak-3", value=0.99, low=0.98, high=1.0)
    found = ask("compare", ".", changed.folder, "-m", "trak-3", "--json")
    assert found.code == 0, found.err
    compared = found.record["settings"]["mnist-lr"]
    (row,) = [r for r in compared["metrics"] if r["method"] == "trak-3" and r["metric"] == "lds"]
    assert row["apart"] and row["second"]["value"] == 0.99
    assert compared["scores"]["rank_correlation"]["value"] == pytest.approx(1.0)
    shown = ask("compare", "results", changed.folder / "results").out
    assert "* the intervals do not overlap" in shown and "trak-3" in shown
    shutil.copytree(changed.folder / "results", tmp_path / "alone")
    line = ask("compare", "results", tmp_path / "alone", "-m", "trak-3").err
    assert "compare the metrics alone, without --method" in line


def test_two_revisions_with_the_scores_from_the_cache(ask, changed):
    changed.commit_all()
    edit_results(changed, "trak-3", value=0.99, low=0.98, high=1.0)
    found = ask("compare", "HEAD", ".", "-m", "trak-3", "--json", folder=changed.folder)
    assert found.code == 0, found.err
    compared = found.record["settings"]["mnist-lr"]
    (row,) = [r for r in compared["metrics"] if r["method"] == "trak-3" and r["metric"] == "lds"]
    assert row["first"]["value"] < 0.98 and row["apart"]
    assert compared["scores"]["rank_correlation"]["value"] == pytest.approx(1.0)
    line = ask("compare", "HEAD", "HEAD~7", folder=changed.folder).err
    assert line.count("\n") == 1 and "HEAD~7" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trak-3", "mars"], "both must be methods, or neither, got 'mars'"),
        (["trak-3", "grad-dot", "-m", "if-cg"], "--method must not be given with two methods"),
        (["trak-3", "grad-dot", "-s", "mars"], "settings with results: mnist-lr"),
        (["stages", "."], "stages must hold SETTING/metrics.json, found none"),
        ([".", "mars"], "mars"),
    ],
)
def test_a_wrong_comparison_is_one_line(refused, arguments, words):
    assert words in refused("compare", *arguments)
