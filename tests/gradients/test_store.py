"""The store gives back what was written, and nothing else: not a part, not damaged bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import zarr

from headwater.gradients import (
    GradientCapture,
    Gradients,
    GradientStore,
    write_gradients,
)
from tests.gradients.stores import DESCRIPTION, read, stored_gradients, write
from tests.groups import by_group, widths
from tests.problems import PROBLEMS, select


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("block", [1, 4, None])
@pytest.mark.parametrize("keep_factors", [False, True])
def test_gradients_round_trip(
    name: str, block: int | None, keep_factors: bool, tmp_path: Path
) -> None:
    gradients = stored_gradients(name, keep_factors)
    write(tmp_path / "store", gradients, block=block)
    found = read(tmp_path / "store", expect=DESCRIPTION)
    assert found.scheme == gradients.scheme
    assert [t.form() for t in found.terms] == [t.form() for t in gradients.terms]
    assert found.tensors().keys() == gradients.tensors().keys()
    for key, tensor in gradients.tensors().items():
        assert torch.equal(found.tensors()[key], tensor), f"{name}: {key} has changed"
    assert torch.equal(found.dense(), gradients.dense())


def test_rows_of_tables_are_kept_as_short_whole_numbers(tmp_path: Path) -> None:
    gradients = stored_gradients("tied weights")
    write(tmp_path / "store", gradients)
    (name,) = (key for key in gradients.tensors() if key.endswith("index"))
    assert gradients.tensors()[name].dtype == torch.int64
    group = zarr.open_group(tmp_path / "store", mode="r")
    assert str(group[name].dtype) == "int32"
    assert read(tmp_path / "store").tensors()[name].dtype == torch.int64


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_array_is_larger_than_the_formed_gradients(name: str, tmp_path: Path) -> None:
    gradients = stored_gradients(name, keep_factors=False)
    write(tmp_path / "store", gradients)
    group = zarr.open_group(tmp_path / "store", mode="r")
    for part in by_group(gradients):
        stored = sum(group[key].nbytes for key in part.tensors() if key != "values")
        assert stored <= len(part) * part.dimension * 8


def test_vectors_round_trip(tmp_path: Path) -> None:
    captured = stored_gradients()
    gradients = Gradients.of_vectors(captured.dense(), captured.values, widths=(50, 7, 59))
    description = dataclasses.replace(DESCRIPTION, representation="dense")
    write(tmp_path / "store", gradients, description)
    found = read(tmp_path / "store", expect=description)
    assert widths(found) == widths(gradients)
    assert torch.equal(found.dense(), gradients.dense())
    assert torch.equal(found.values, gradients.values)


@pytest.mark.parametrize("block", [2, None])
def test_a_data_set_is_captured_into_a_store(block: int | None, tmp_path: Path) -> None:
    problem = PROBLEMS["padded language model"]()
    task = problem.task()
    capture, asked = GradientCapture(task.bind(), task.loss), []

    def samples(rows: slice) -> tuple[torch.Tensor, ...]:
        asked.append(rows)
        return select(problem.train, rows)

    for _ in range(2):
        write_gradients(
            tmp_path / "store", DESCRIPTION, capture, samples, problem.n, lambda g: g, block
        )
        assert torch.allclose(
            read(tmp_path / "store").dense(), capture(problem.train).dense(), atol=1e-14
        )
    blocks = [rows for rows in asked if rows != slice(0, 2)] if block is None else asked[1:-1]
    assert len(blocks) == (1 if block is None else 5), "complete blocks were computed again"


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 2e-3)])
def test_narrow_stores_round(dtype: str, tolerance: float, tmp_path: Path) -> None:
    gradients = stored_gradients()
    write(tmp_path / "store", gradients, dataclasses.replace(DESCRIPTION, dtype=dtype))
    found = read(tmp_path / "store")
    assert found.dense().dtype == torch.float32, "gradients are read as float32 by default"
    assert torch.equal(found.values, gradients.values), "values keep float64"
    error = (found.dense().double() - gradients.dense()).norm() / gradients.dense().norm()
    assert float(error) < tolerance
    widened = read(tmp_path / "store", dtype=torch.float64)
    assert widened.dense().dtype == torch.float64


def test_the_description_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "store", stored_gradients())
    store = GradientStore(tmp_path / "store")
    assert store.description == DESCRIPTION
    assert (store.n, store.block, store.n_blocks) == (9, 4, 3)


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, stored_gradients())
    files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()]
    assert len(files) > 10
    for file in files:
        same = (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
        assert same, f"{file} differs"


# Refusals ------------------------------------------------------------------------------------------


def test_a_store_with_a_missing_block_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "store", stored_gradients())
    (tmp_path / "store" / "blocks" / "1.json").unlink()
    with pytest.raises(ValueError, match="must be complete, got 2 of 3 blocks"):
        GradientStore(tmp_path / "store")


@pytest.mark.parametrize("position", [0, -1])
def test_a_flipped_byte_is_detected(position: int, tmp_path: Path) -> None:
    write(tmp_path / "store", stored_gradients(), block=3)
    file = next(
        p for p in (tmp_path / "store" / "head.weight.inputs" / "c" / "1").rglob("*") if p.is_file()
    )
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)
    store = GradientStore(tmp_path / "store")
    store.read(0)
    with pytest.raises(ValueError, match=r"block 1 of head.weight.inputs .* is damaged"):
        store.read(1)


def test_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a gradient store"):
        GradientStore(tmp_path / "nothing")


# Readers -----------------------------------------------------------------------------------------


def test_read_only_files_can_be_read_and_are_not_changed(tmp_path: Path) -> None:
    path, gradients = tmp_path / "store", stored_gradients()
    write(path, gradients)
    files = [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        file.chmod(0o444)
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    found = read(path)
    assert torch.equal(found.dense(), gradients.dense())
    block = GradientStore(path).read(0)
    for tensor in block.tensors().values():
        tensor.mul_(2)  # whoever changes what was read changes a copy
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files} == before
    assert sorted(p for p in path.rglob("*") if p.is_file()) == sorted(files)


def test_blocks_can_be_read_in_any_order(tmp_path: Path) -> None:
    gradients = stored_gradients()
    write(tmp_path / "store", gradients)
    store = GradientStore(tmp_path / "store")
    for b in (2, 0, 1, 2):
        assert torch.equal(store.read(b).dense(), gradients[4 * b : 4 * b + 4].dense())
