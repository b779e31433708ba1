"""What is measured and where: seconds, peak memory, the machine. Standard library only.

A peer's process imports this file too, in an environment of its own.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["MB", "alternate", "machine", "peak_memory", "ratio_of_medians", "save_record", "timed"]

MB = 10**6


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that one call takes, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def alternate(
    functions: Mapping[str, Callable[[], Any]], repetitions: int
) -> dict[str, list[float]]:
    """Time functions in turn, A B A B ..., so that a slow moment of the machine meets them all.

    Each is called once beforehand, untimed.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            seconds[name].append(timed(function)[0])
    return seconds


def ratio_of_medians(numerator: list[float], denominator: list[float]) -> float:
    """Return median(numerator) / median(denominator)."""
    return median(numerator) / median(denominator)


def peak_memory() -> int:
    """Return the bytes of memory that this process has had resident at most.

    VmHWM where there is one: Linux hands a parent's ru_maxrss on to its children.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine(threads: int) -> dict[str, str | int]:
    """Describe the machine that the measurements were made on."""
    return {
        "cores": os.cpu_count() or 1,
        "cpu": _cpu(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "torch": version("torch"),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    numbers = ", ".join(f"{k} {fields[k]}" for k in ("cpu family", "model") if k in fields)
    return f"{fields.get('model name', platform.machine())} ({numbers})"


def save_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON with sorted keys, numbers to four significant digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_rounded(record), indent=2, sort_keys=True) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
