"""What importing and recording cost: the pages say what was measured."""

import pytest

from benchmarks import imports, recording
from headwater.recording import recorded

MACHINE = {"cpu": "x", "cores": 2, "threads": 2, "memory_gb": 24, "system": "Linux",
           "python": "3.11", "torch": "2.13"}  # fmt: skip


def test_ratios_of_imports_are_those_of_the_medians():
    rows = {
        "import torch": {"cpu": [2.0, 1.0, 9.0], "wall": [4.0, 4.0, 4.0]},
        "import headwater": {"cpu": [2.5, 2.4, 0.1], "wall": [5.0, 1.0, 9.0]},
    }
    page = imports.page({"machine": MACHINE, "rows": rows})
    assert "| import headwater | 2.4 s | 1.20 × | 1.25 × |" in page[-1]


@pytest.mark.slow
def test_a_statement_is_measured_in_a_process_of_its_own():
    cpu, wall = imports._run("sum(range(3_000_000))")
    assert 0 < cpu and 0 < wall
    with pytest.raises(RuntimeError, match="must run, ended with code 1"):
        imports._run("raise SystemExit(1)")


def test_what_recording_adds_is_measured_on_the_same_training(tmp_path):
    recording.plain_loop(tmp_path, epochs=2, n=640)
    assert [record.step for record in recorded(tmp_path)] == [10, 20]
    row = recording._measure(lambda folder: recording.plain_loop(folder, epochs=1, n=64), 2)
    assert row["checkpoints"] == 1 and len(row["with"]["cpu"]) == len(row["without"]["wall"]) == 2


def test_the_page_says_how_much_more():
    sides = {"without": {"cpu": [2.0], "wall": [4.0]}, "with": {"cpu": [2.1], "wall": [4.4]}}
    row = {**sides, "checkpoints": 5, "megabytes": 0.44}
    page = recording.page({"machine": MACHINE, "rows": {"loop": row}})
    assert "| loop | 2 s | 5 of 0.44 MB | 5.0 % | 10.0 % |" in page[-1]
