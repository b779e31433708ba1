"""This tree beside an earlier commit: here beside itself."""

import json

import pytest

from benchmarks import revisions
from benchmarks.methods import Problem


@pytest.mark.slow
def test_a_commit_beside_itself_is_as_fast(tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "PROBLEMS", (Problem("mnist-mlp", "tiny", 60, 20),))
    revisions.main(
        ["HEAD", "--methods", "auc", "grad-dot", "--repetitions", "2", "--results", str(tmp_path)]
    )
    record = json.loads((tmp_path / "revisions.json").read_text())
    (run,) = record["runs"]
    assert run["rows"].keys() == {"mnist-mlp grad-dot", "mnist-mlp auc"}
    for row in run["rows"].values():
        assert len(row["before"]["seconds"]) == len(row["now"]["seconds"]) == 2
    page = (tmp_path / "revisions.md").read_text()
    assert "| mnist-mlp grad-dot |" in page and record["commit"] in page
    listed = revisions._git("worktree", "list")
    assert str(tmp_path) not in listed and "/tree" not in listed


def test_the_table_says_how_many_times_faster():
    sides = {"before": [3.0, 2.0, 9.0], "now": [1.0, 1.5, 9.0]}
    row = {side: {"seconds": found, "peak_mb": [100.0]} for side, found in sides.items()}
    machine = {"cpu": "x", "cores": 2, "threads": 2, "memory_gb": 24, "system": "Linux",
               "python": "3.11", "torch": "2.13"}  # fmt: skip
    run = {"machine": machine, "rows": {"lr trak": row}}
    page = revisions.page({"commit": "abc", "runs": [run]})
    assert "| lr trak | 2 | 1 | 2.00 × | 100 | 100 |" in page[-1]


def test_rows_join_those_of_the_same_commit_and_machine():
    record = revisions.with_rows({}, "abc", 2, {"lr trak": 1, "lr loo": 2})
    record["runs"].insert(0, {"machine": "another", "rows": {"lr trak": 7}})
    record = revisions.with_rows(record, "abc", 2, {"lr trak": 3})
    assert [run["rows"] for run in record["runs"]] == [
        {"lr trak": 7},
        {"lr trak": 3, "lr loo": 2},
    ]
    assert len(revisions.with_rows(record, "def", 2, {})["runs"]) == 1
