"""What a killed run has written is kept, and only whole blocks of the same gradients go in."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headwater.gradients import (
    GradientCapture,
    Gradients,
    GradientStore,
    StoreDescription,
    StoreWriter,
)
from tests.gradients.stores import DESCRIPTION, read, stored_gradients, write
from tests.problems import PROBLEMS

ROOT = Path(__file__).parents[2]


# A killed run ------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from headwater.gradients import StoreWriter
from tests.gradients.stores import DESCRIPTION, stored_gradients
path, when = sys.argv[1], sys.argv[2]
gradients = stored_gradients()
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if when == "layout":
    import zarr
    zarr.Group.create_array = die
writer = StoreWriter(path, DESCRIPTION, n=9, block=2)
writer.start(gradients)
for b, rows in enumerate(writer.missing()):
    if when == "bytes" and b == 2:
        writer._group[next(iter(gradients.tensors()))][rows] = -1.0
        die()
    if when == "mark" and b == 2:
        os.replace = die
    writer.write(rows, gradients[rows])
"""


def _killed(path: Path, when: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(path), when]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("when", ["bytes", "mark"])
def test_a_killed_run_goes_on_at_the_block(when: str, tmp_path: Path) -> None:
    path, gradients = tmp_path / "store", stored_gradients()
    _killed(path, when)
    with pytest.raises(ValueError, match="must be complete, got 2 of 5 blocks"):
        GradientStore(path)
    chunks = [
        p for b in "01" for folder in path.rglob(f"c/{b}") for p in (folder, *folder.rglob("*"))
    ]
    kept = [p for p in (*chunks, *path.glob("blocks/[01].json")) if p.is_file()]
    times = {p: p.stat().st_mtime_ns for p in kept}
    assert len(times) == 2 * (len(gradients.tensors()) + 1)
    assert when == "bytes" or list(path.rglob("*.partial")), "this test kills too late"
    writer = StoreWriter(path, DESCRIPTION, n=9, block=2)
    assert not list(path.rglob("*.partial")), "leftovers of the killed run must go"
    writer.start(gradients)
    assert writer.missing() == [slice(4, 6), slice(6, 8), slice(8, 9)]
    for rows in writer.missing():
        writer.write(rows, gradients[rows])
    assert {p: p.stat().st_mtime_ns for p in kept} == times, "complete blocks were written again"
    assert torch.equal(read(path).dense(), gradients.dense())


def test_a_run_killed_while_the_store_was_laid_out_starts_again(tmp_path: Path) -> None:
    path, gradients = tmp_path / "store", stored_gradients()
    _killed(path, "layout")
    write(path, gradients, block=2)
    assert torch.equal(read(path).dense(), gradients.dense())


def test_a_complete_store_has_nothing_missing(tmp_path: Path) -> None:
    write(tmp_path / "store", stored_gradients())
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9)
    assert writer.missing() == []


# Refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(StoreDescription)])
def test_a_store_of_something_else_is_refused(field: str, tmp_path: Path) -> None:
    write(tmp_path / "store", stored_gradients())
    other = "float32" if field == "dtype" else "other"
    wanted = dataclasses.replace(DESCRIPTION, **{field: other})
    with pytest.raises(ValueError, match=f"must hold {field} '{other}'"):
        GradientStore(tmp_path / "store", expect=wanted)
    with pytest.raises(ValueError, match=f"must hold {field} '{other}'"):
        StoreWriter(tmp_path / "store", wanted, n=9)


def test_a_store_of_another_number_of_samples_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "store", stored_gradients())
    with pytest.raises(ValueError, match="must hold n 12, got 9"):
        StoreWriter(tmp_path / "store", DESCRIPTION, n=12)


def test_going_on_with_gradients_of_other_layers_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "store", stored_gradients())
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9)
    with pytest.raises(ValueError, match="must hold gradients of the layers"):
        writer.start(stored_gradients("mlp"))


@pytest.mark.parametrize("keep_factors", [False, True])
def test_sequences_of_another_length_are_refused(keep_factors: bool, tmp_path: Path) -> None:
    problem = PROBLEMS["sequence"]()
    task = problem.task()
    capture = GradientCapture(task.bind(), task.loss, keep_factors)
    x, y = problem.train
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9, block=4)
    writer.write(slice(0, 4), capture((x[:4, :1], y[:4, :1])))
    with pytest.raises(ValueError, match="pad sequences to one length"):
        writer.write(slice(4, 8), capture((x[4:8], y[4:8])))
    assert len(writer.missing()) == 2


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    wanted = dataclasses.replace(DESCRIPTION, dtype="bfloat16")
    with pytest.raises(ValueError, match="float32, float16, float64, got 'bfloat16'"):
        StoreWriter(tmp_path / "store", wanted, n=9)


@pytest.mark.parametrize("rows", [slice(0, 2), slice(1, 5), slice(4, 9)], ids=str)
def test_rows_that_are_no_whole_block_are_refused(rows: slice, tmp_path: Path) -> None:
    gradients = stored_gradients()
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9, block=4)
    writer.start(gradients)
    with pytest.raises(ValueError, match="one whole block of 4 samples"):
        writer.write(rows, gradients[rows])
    assert len(writer.missing()) == 3


def test_a_block_of_too_few_gradients_is_refused(tmp_path: Path) -> None:
    gradients = stored_gradients()
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9, block=4)
    with pytest.raises(ValueError, match=r"must have shape \(4,"):
        writer.write(slice(0, 4), gradients[0:3])
    assert len(writer.missing()) == 3, "a refused block must not be marked complete"


def test_a_gradient_too_large_for_float16_is_refused(tmp_path: Path) -> None:
    vectors = torch.ones(9, 4, dtype=torch.float64)
    vectors[5, 1] = 1e6
    gradients = Gradients.of_vectors(vectors)
    description = dataclasses.replace(DESCRIPTION, dtype="float16")
    writer = StoreWriter(tmp_path / "store", description, n=9, block=4)
    writer.write(slice(0, 4), gradients[0:4])
    with pytest.raises(ValueError, match=r"float16 must be finite.* at sample 5;"):
        writer.write(slice(4, 8), gradients[4:8])
    assert writer.missing() == [slice(4, 8), slice(8, 9)]
