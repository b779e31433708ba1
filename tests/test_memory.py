"""What is free in a container and on a GPU, budgets in words, and blocks of rows."""

from __future__ import annotations

import math
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwater import memory
from headwater.memory import (
    CACHED,
    LARGE,
    available_bytes,
    check_memory,
    container_bytes,
    default_budget,
    parse_budget,
    row_blocks,
    rows_per_block,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class Host:
    """A machine with 16 GiB left."""

    available = 16 * 2**30


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Host)
    monkeypatch.setattr(memory, "container_bytes", lambda groups: math.inf)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with 6 GiB left, and 2 GiB that PyTorch keeps without using them."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (6 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3 * 2**30)


# Containers ------------------------------------------------------------------------------------


def second(folder: Path, limit: str, usage: int = 0, inactive: int = 0) -> None:
    """A group of version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    stat = f"anon 7\nfile 90\ninactive_anon 1000\ninactive_file {inactive}\n"
    (folder / "memory.stat").write_text(stat)


def first(folder: Path, limit: str, usage: int = 0, inactive: int = 0) -> None:
    """A group of version 1; `inactive_file` is of the group alone there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    stat = f"cache 7\ninactive_file 1000\ntotal_inactive_file {inactive}\n"
    (folder / "memory.stat").write_text(stat)


V1 = "9:name=systemd:/\n5:cpu,cpuacct:/other\n4:hugetlb,memory:{}\n0::/\n"


def test_a_container_of_version_2_is_the_root_it_sees(tmp_path: Path) -> None:
    second(tmp_path, "1000", usage=700, inactive=200)
    assert container_bytes("0::/\n", tmp_path) == 500


def test_a_container_of_version_1_is_the_root_it_sees(tmp_path: Path) -> None:
    first(tmp_path / "memory", "1000", usage=700, inactive=200)
    assert container_bytes(V1.format("/"), tmp_path) == 500


def test_a_group_that_cannot_be_seen_leaves_the_root(tmp_path: Path) -> None:
    first(tmp_path / "memory", "1000", usage=700)
    for path in ("/docker/a1b2", "/../../docker", "/docker/with:colon"):
        assert container_bytes(V1.format(path), tmp_path) == 300
    assert container_bytes("", tmp_path) == 300  # no /proc


@pytest.mark.parametrize("inner, wanted", [("400", 300), ("max", 900), ("5000", 900)])
def test_the_process_has_a_group_of_its_own_in_version_2(
    inner: str, wanted: int, tmp_path: Path
) -> None:
    second(tmp_path / "a.slice", "1000", usage=100)
    second(tmp_path / "a.slice/b.scope", inner, usage=100)
    second(tmp_path / "a.slice/other.scope", "10")
    assert container_bytes("0::/a.slice/b.scope\n", tmp_path) == wanted


@pytest.mark.parametrize("inner, wanted", [("400", 300), (str(2**63 - 4096), 900)])
def test_the_process_has_a_group_of_its_own_in_version_1(
    inner: str, wanted: int, tmp_path: Path
) -> None:
    first(tmp_path / "memory", str(2**63 - 4096), usage=5000)
    first(tmp_path / "memory/a", "1000", usage=100)
    first(tmp_path / "memory/a/b", inner, usage=100)
    assert container_bytes(V1.format("/a/b"), tmp_path) == wanted


def test_both_versions_count(tmp_path: Path) -> None:
    second(tmp_path, "1000", usage=100)
    first(tmp_path / "memory", "1000", usage=400)
    assert container_bytes(V1.format("/"), tmp_path) == 600


def test_without_a_limit_any_number_may_be_taken(tmp_path: Path) -> None:
    assert container_bytes("0::/\n", tmp_path) == math.inf
    second(tmp_path, "max", usage=700)
    assert container_bytes("0::/\n", tmp_path) == math.inf


def test_a_full_container_leaves_nothing(tmp_path: Path) -> None:
    second(tmp_path, "1000", usage=1200)
    assert container_bytes("0::/\n", tmp_path) == 0


def test_a_limit_alone_is_known(tmp_path: Path) -> None:
    second(tmp_path, "1000")
    for name in ("memory.current", "memory.stat"):
        (tmp_path / name).unlink()
    assert container_bytes("0::/\n", tmp_path) == 1000


# Devices ---------------------------------------------------------------------------------------


def test_the_cpu_has_what_the_system_and_the_container_leave(
    monkeypatch: pytest.MonkeyPatch, host: None
) -> None:
    assert available_bytes(CPU) == 16 * 2**30
    monkeypatch.setattr(memory, "container_bytes", lambda groups: 5 * 2**30)
    assert available_bytes(CPU) == 5 * 2**30
    monkeypatch.setattr(memory, "container_bytes", lambda groups: 2**63)
    assert available_bytes(CPU) == 16 * 2**30


def test_this_machine_has_memory_left() -> None:
    assert 0 < available_bytes(CPU) <= psutil.virtual_memory().total


def test_what_pytorch_keeps_on_a_gpu_is_free(gpu: None) -> None:
    assert available_bytes(CUDA) == 8 * 2**30


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_tensor_takes_memory_and_gives_it_back() -> None:
    before = available_bytes(CUDA)
    taken = torch.zeros(2**28, device=CUDA)
    assert before - available_bytes(CUDA) >= taken.nbytes
    del taken
    assert before - available_bytes(CUDA) < 2**28


def test_what_fits_passes_and_what_does_not_is_refused(gpu: None, host: None) -> None:
    check_memory("the matrix", 8 * 2**30, "take fewer rows", CUDA)
    check_memory("the matrix", 16 * 2**30, "take fewer rows", CPU)
    with pytest.raises(MemoryError) as caught:
        check_memory("the matrix", 8 * 2**30 + 2**29, "take fewer rows", CUDA)
    assert str(caught.value) == "the matrix needs 8.5 GiB, 8.0 GiB are free; take fewer rows"
    with pytest.raises(MemoryError, match=r"needs 17\.0 GiB, 16\.0 GiB are free"):
        check_memory("the matrix", 17 * 2**30, "take fewer rows", CPU)


# Budgets ---------------------------------------------------------------------------------------


def test_the_default_is_a_quarter_of_what_is_free(gpu: None, host: None) -> None:
    assert default_budget(CPU) == 4 * 2**30
    assert default_budget(CUDA) == 2 * 2**30


@pytest.mark.parametrize(
    "budget, wanted",
    [
        (7, 7),
        ("7B", 7),
        ("200MB", 200 * 10**6),
        ("1.5GiB", 3 * 2**29),
        (" 2 kb ", 2000),
        ("2KiB", 2048),
        ("0.1TB", 10**11),
        ("1tib", 2**40),
    ],
    ids=str,
)
def test_budgets_are_bytes_or_words(budget: int | str, wanted: int) -> None:
    assert parse_budget(budget) == wanted


@pytest.mark.parametrize(
    "budget",
    [0, -1, True, 1e9, "0MB", "0.4B", "-1MB", "200", "MB", "1XB", "1e3MB", "", "1,5GB", "infGB"],
    ids=repr,
)
def test_what_is_no_budget_is_refused(budget: int | str) -> None:
    with pytest.raises(ValueError, match=r"positive number of bytes, got .*; pass an int, or") as e:
        parse_budget(budget)
    assert repr(budget) in str(e.value)


# Blocks ----------------------------------------------------------------------------------------


@given(
    count=st.integers(0, 200),
    width=st.integers(0, 50),
    numbers=st.integers(0, 500),
    least=st.integers(0, 20),
)
def test_blocks_cover_all_rows_once_in_order_and_fit(
    count: int, width: int, numbers: int, least: int
) -> None:
    blocks = list(row_blocks(count, width, CPU, numbers=numbers, least=least))
    assert [row for block in blocks for row in range(count)[block]] == list(range(count))
    sizes = [block.stop - block.start for block in blocks]
    assert all(0 < size and (size <= max(1, least) or size * width <= numbers) for size in sizes)
    whole = rows_per_block(width, CPU, numbers=numbers, least=least)
    assert all(size == whole for size in sizes[:-1])
    assert whole >= max(1, least)
    assert (whole + 1) * max(1, width) > numbers  # no smaller than it must be


@pytest.mark.parametrize("device", [CPU, CUDA, torch.device("mps")], ids=str)
def test_a_device_has_workspaces_of_its_own(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "cpu" if device == CPU else "cuda"
    assert rows_per_block(2**10, device) == CACHED[kind] // 2**10
    assert rows_per_block(2**10, device, numbers=LARGE) == LARGE[kind] // 2**10
    monkeypatch.setitem(CACHED, kind, 2**11)
    assert rows_per_block(2**10, device) == 2
    assert next(row_blocks(9, 2**10, device)) == slice(0, 2)
