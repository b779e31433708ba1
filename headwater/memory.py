"""Memory: what is free, what may be taken, blocks of rows that stay within it, and what parts cost."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

CACHED = {"cpu": 2**22, "cuda": 2**26}
"""Numbers that stay in fast memory, 16 and 256 MiB in float32. A CPU's malloc keeps that much for the
next block, while more comes from the system page by page, at the cost of a product."""
LARGE = {"cpu": 2**25, "cuda": 2**28}
"""Numbers that one intermediate may hold, 128 MiB and 1 GiB in float32."""

Numbers = int | Mapping[str, int]
"""How many numbers: a count, or one per kind of device."""

GIB = 2**30
UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_BUDGET = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", re.IGNORECASE)

# Versions 2 and 1 of control groups: the controller, and what its limit, its use and the part of the
# use that the kernel gives back on demand (pages of files) are called.
_VERSIONS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


class Sizes(NamedTuple):
    """What costs at one checkpoint are counted from."""

    n: int  # training samples
    m: int  # right-hand sides
    p: int  # numbers in a gradient
    pair: float  # operations of an inner product of two gradients,
    pass_: float  # of a forward and backward pass of one sample,
    seen: int = 0  # samples that all steps of a run see
    product: float = 0.0  # operations of C times a vector
    rows: int = 0  # rows that C is made of


class Cost(NamedTuple):
    """Bytes of memory above the gradients, operations, and bytes of the solution that is kept."""

    memory: float
    operations: float
    kept: float


def available_bytes(device: torch.device) -> int:
    """Return how many bytes can still be taken on a device.

    On CUDA, what PyTorch has reserved and not allocated is free; elsewhere what containers leave.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    left = container_bytes(_text(Path("/proc/self/cgroup")))
    return int(min(psutil.virtual_memory().available, left))


def container_bytes(groups: str, root: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the least that a process's control groups and those above them leave; infinity: any number.

    `groups` is what ``/proc/self/cgroup`` says. A group that it names need not be there: a container
    may see its own as the `root`, where the groups of both versions are mounted.
    """
    return min(
        _left(folder, *names)
        for controller, *names in _VERSIONS
        for folder in _folders(groups, controller, root / controller)
    )


def check_memory(what: str, needed: int, advice: str, device: torch.device) -> None:
    """Raise MemoryError if an allocation of as many bytes would not fit, before it is tried."""
    available = available_bytes(device)
    if needed > available:
        raise MemoryError(
            f"{what} needs {needed / GIB:.1f} GiB, {available / GIB:.1f} GiB are free; {advice}"
        )


def default_budget(device: torch.device) -> int:
    """Return the bytes that may be taken where nobody says how many: a quarter of what is free."""
    return available_bytes(device) // 4


def parse_budget(budget: int | str) -> int:
    """Return a budget in bytes, given so or as a number with a unit: B, kB, MB, GB, TB or KiB ... TiB.

    ValueError if it is not a positive number of bytes.

    Example:
        >>> parse_budget("1.5GiB")
        1610612736
    """
    count = budget if isinstance(budget, int) and not isinstance(budget, bool) else 0
    if isinstance(budget, str) and (match := _BUDGET.fullmatch(budget.strip())):
        count = int(Decimal(match[1]) * UNITS.get(match[2].lower(), 0))
    if count <= 0:
        raise ValueError(
            f"a budget must be a positive number of bytes, got {budget!r}; "
            'pass an int, or a number with a unit such as "200MB" or "1.5GiB"'
        )
    return count


def rows_per_block(
    width: int, device: torch.device, *, numbers: Numbers | None = None, least: int = 1
) -> int:
    """Return how many rows of a width a block may have on a device, `least` however wide they are.

    More than that hold at most `numbers`, by default `CACHED`.
    """
    if not isinstance(numbers, int):
        kind = "cpu" if device.type == "cpu" else "cuda"  # any accelerator wants large blocks
        numbers = (CACHED if numbers is None else numbers)[kind]
    return max(1, least, numbers // max(1, width))


def row_blocks(
    count: int, width: int, device: torch.device, *, numbers: Numbers | None = None, least: int = 1
) -> Iterator[slice]:
    """Yield slices that cover `count` rows in order, each as many as `rows_per_block` allows."""
    step = rows_per_block(width, device, numbers=numbers, least=least)
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))


def _folders(groups: str, controller: str, top: Path) -> list[Path]:
    parts: list[str] = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            parts = [part for part in path.split("/") if part]
    if ".." in parts:  # the group is outside what the process sees
        parts = []
    return [top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> float:
    most, used = _text(folder / limit).strip(), _text(folder / usage).strip()
    if not most.isdecimal():  # "max": no limit
        return math.inf
    pages = (line.split() for line in _text(folder / "memory.stat").splitlines())
    given_back = sum(int(count) for name, count in pages if name == reclaimable)
    return max(0, int(most) - int(used or 0) + given_back)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
