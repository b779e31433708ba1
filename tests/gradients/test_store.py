"""The store gives back what was written, and nothing else: not a part, not damaged bytes."""

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
    DenseGradients,
    FactoredGradients,
    GradientCapture,
    Gradients,
    GradientStore,
    StoreDescription,
    StoreWriter,
    concatenate,
)
from tests.problems import PROBLEMS

ROOT = Path(__file__).parents[2]
DESCRIPTION = StoreDescription(
    setting="tiny", split="train", function="loss", checkpoint="abc", dtype="float64"
)


def _gradients(name: str = "mixed") -> FactoredGradients:
    problem = PROBLEMS[name]()
    task = problem.task()
    return GradientCapture(task.bind(), task.loss)(problem.train)


def _write(
    path: Path,
    gradients: Gradients,
    description: StoreDescription = DESCRIPTION,
    block: int | None = 4,
) -> StoreWriter:
    writer = StoreWriter(path, description, n=len(gradients), block=block)
    writer.start(gradients)
    for rows in writer.missing():
        writer.write(rows, gradients[rows])
    return writer


def _read(path: Path, **arguments) -> Gradients:
    return concatenate(list(GradientStore(path, **arguments).blocks()))


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("block", [1, 4, 9, None])
def test_factored_gradients_round_trip(name: str, block: int | None, tmp_path: Path) -> None:
    gradients = _gradients(name)
    _write(tmp_path / "store", gradients, block=block)
    found = _read(tmp_path / "store", expect=DESCRIPTION)
    assert isinstance(found, FactoredGradients)
    assert found.scheme == gradients.scheme
    assert found.tensors().keys() == gradients.tensors().keys()
    for key, tensor in gradients.tensors().items():
        assert torch.equal(found.tensors()[key], tensor), f"{name}: {key} has changed"
    assert torch.equal(found.dense(), gradients.dense())


def test_dense_gradients_round_trip(tmp_path: Path) -> None:
    captured = _gradients()
    gradients = DenseGradients(captured.dense(), captured.values)
    description = dataclasses.replace(DESCRIPTION, representation="dense")
    _write(tmp_path / "store", gradients, description)
    found = _read(tmp_path / "store", expect=description)
    assert isinstance(found, DenseGradients)
    assert torch.equal(found.dense(), gradients.dense())
    assert torch.equal(found.values, gradients.values)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
def test_narrow_stores_round(dtype: str, tolerance: float, tmp_path: Path) -> None:
    gradients = _gradients()
    _write(tmp_path / "store", gradients, dataclasses.replace(DESCRIPTION, dtype=dtype))
    found = _read(tmp_path / "store")
    assert found.dense().dtype == torch.float32, "gradients are read as float32 by default"
    assert torch.equal(found.values, gradients.values), "values keep float64"
    error = (found.dense().double() - gradients.dense()).norm() / gradients.dense().norm()
    assert float(error) < tolerance
    widened = _read(tmp_path / "store", dtype=torch.float64)
    assert widened.dense().dtype == torch.float64


def test_the_description_is_kept(tmp_path: Path) -> None:
    _write(tmp_path / "store", _gradients())
    store = GradientStore(tmp_path / "store")
    assert store.description == DESCRIPTION
    assert (store.n, store.block, store.n_blocks) == (9, 4, 3)


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _write(tmp_path / name, _gradients())
    files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()]
    assert len(files) > 10
    for file in files:
        same = (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
        assert same, f"{file} differs"


# A killed run ------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from headwater.gradients import StoreWriter
from tests.gradients.test_store import DESCRIPTION, _gradients
path, when = sys.argv[1], sys.argv[2]
gradients = _gradients()
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
    path, gradients = tmp_path / "store", _gradients()
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
    assert torch.equal(_read(path).dense(), gradients.dense())


def test_a_run_killed_while_the_store_was_laid_out_starts_again(tmp_path: Path) -> None:
    path, gradients = tmp_path / "store", _gradients()
    _killed(path, "layout")
    _write(path, gradients, block=2)
    assert torch.equal(_read(path).dense(), gradients.dense())


def test_a_complete_store_has_nothing_missing(tmp_path: Path) -> None:
    _write(tmp_path / "store", _gradients())
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9)
    assert writer.missing() == []


# Refusals ----------------------------------------------------------------------------------------


def test_a_store_with_a_missing_block_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "store", _gradients())
    (tmp_path / "store" / "blocks" / "1.json").unlink()
    with pytest.raises(ValueError, match="must be complete, got 2 of 3 blocks"):
        GradientStore(tmp_path / "store")


@pytest.mark.parametrize("position", [0, -1])
def test_a_flipped_byte_is_detected(position: int, tmp_path: Path) -> None:
    _write(tmp_path / "store", _gradients(), block=3)
    file = next(
        p for p in (tmp_path / "store" / "head.inputs" / "c" / "1").rglob("*") if p.is_file()
    )
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)
    store = GradientStore(tmp_path / "store")
    store.read(0)
    with pytest.raises(ValueError, match=r"block 1 of head.inputs .* is damaged"):
        store.read(1)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(StoreDescription)])
def test_a_store_of_something_else_is_refused(field: str, tmp_path: Path) -> None:
    _write(tmp_path / "store", _gradients())
    other = "float32" if field == "dtype" else "other"
    wanted = dataclasses.replace(DESCRIPTION, **{field: other})
    with pytest.raises(ValueError, match=f"must hold {field} '{other}'"):
        GradientStore(tmp_path / "store", expect=wanted)
    with pytest.raises(ValueError, match=f"must hold {field} '{other}'"):
        StoreWriter(tmp_path / "store", wanted, n=9)


def test_a_store_of_another_number_of_samples_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "store", _gradients())
    with pytest.raises(ValueError, match="must hold n 12, got 9"):
        StoreWriter(tmp_path / "store", DESCRIPTION, n=12)


def test_going_on_with_gradients_of_other_layers_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "store", _gradients())
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9)
    with pytest.raises(ValueError, match="must hold gradients of the layers"):
        writer.start(_gradients("mlp"))


def test_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a gradient store"):
        GradientStore(tmp_path / "nothing")


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    wanted = dataclasses.replace(DESCRIPTION, dtype="bfloat16")
    with pytest.raises(ValueError, match="float32, float16, float64, got 'bfloat16'"):
        StoreWriter(tmp_path / "store", wanted, n=9)


@pytest.mark.parametrize("rows", [slice(0, 2), slice(1, 5), slice(4, 9)], ids=str)
def test_rows_that_are_no_whole_block_are_refused(rows: slice, tmp_path: Path) -> None:
    gradients = _gradients()
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9, block=4)
    writer.start(gradients)
    with pytest.raises(ValueError, match="one whole block of 4 samples"):
        writer.write(rows, gradients[rows])
    assert len(writer.missing()) == 3


def test_a_block_of_too_few_gradients_is_refused(tmp_path: Path) -> None:
    gradients = _gradients()
    writer = StoreWriter(tmp_path / "store", DESCRIPTION, n=9, block=4)
    with pytest.raises(ValueError, match=r"must have shape \(4,"):
        writer.write(slice(0, 4), gradients[0:3])
    assert len(writer.missing()) == 3, "a refused block must not be marked complete"


def test_a_gradient_too_large_for_float16_is_refused(tmp_path: Path) -> None:
    gradients = DenseGradients(torch.ones(9, 4, dtype=torch.float64))
    gradients.vectors[5, 1] = 1e6
    description = dataclasses.replace(DESCRIPTION, dtype="float16")
    writer = StoreWriter(tmp_path / "store", description, n=9, block=4)
    writer.write(slice(0, 4), gradients[0:4])
    with pytest.raises(ValueError, match=r"float16 must be finite.* at sample 5;"):
        writer.write(slice(4, 8), gradients[4:8])
    assert writer.missing() == [slice(4, 8), slice(8, 9)]


# Readers -----------------------------------------------------------------------------------------


def test_read_only_files_can_be_read_and_are_not_changed(tmp_path: Path) -> None:
    path, gradients = tmp_path / "store", _gradients()
    _write(path, gradients)
    files = [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        file.chmod(0o444)
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    found = _read(path)
    assert torch.equal(found.dense(), gradients.dense())
    block = GradientStore(path).read(0)
    for tensor in block.tensors().values():
        tensor.mul_(2.0)  # whoever changes what was read changes a copy
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files} == before
    assert sorted(p for p in path.rglob("*") if p.is_file()) == sorted(files)


def test_blocks_can_be_read_in_any_order(tmp_path: Path) -> None:
    gradients = _gradients()
    _write(tmp_path / "store", gradients)
    store = GradientStore(tmp_path / "store")
    for b in (2, 0, 1, 2):
        assert torch.equal(store.read(b).dense(), gradients[4 * b : 4 * b + 4].dense())
