"""What every stage shares: ``python -m stages NAME [SETTING [KEY]] --PATH FILE ...``.

``stages/NAME.py`` has a function ``main(row, ..., *, out, **paths)``: it reads its row and its paths,
makes one library call, and publishes `out` atomically; it knows neither DVC nor Prefect.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import inspect
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from stages.files import atomic
from stages.row import Row, read_row

__all__ = ["NAMES", "Clock", "StageError", "call"]

NAMES = (
    "code", "data", "train", "retrain", "truth", "gradients", "solve", "score", "removal", "evaluate",
    "report", "explore", "summary",
)  # fmt: skip
log = logging.getLogger("stage")
_EXPECTED = (ValueError, ArithmeticError, OSError, MemoryError, TypeError, ImportError)
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1


class StageError(RuntimeError):
    """A stage could not do its work; one line that says why."""


class Clock:
    """Seconds of the parts of a stage, and its peak memory so far above what its libraries take."""

    def __init__(self) -> None:
        self._start = psutil.Process().memory_info().rss
        self._parts: dict[str, dict[str, float]] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to those of a part."""
        start = time.perf_counter()
        yield
        part = self._parts.setdefault(name, {"seconds": 0.0})
        part["seconds"] = round(part["seconds"] + time.perf_counter() - start, 3)
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        part["peak_memory_mb"] = round(max(0, peak - self._start) / 2**20)

    def save(self, path: Path) -> None:
        """Write the record; a run that goes on where another was killed counts its own work only."""
        with atomic(path) as partial:
            partial.write_text(json.dumps(self._parts, sort_keys=True) + "\n")


def call(arguments: Sequence[str]) -> None:
    """Run one stage from its command line, without the ``python -m stages``.

    Raises:
        StageError: if it could not do its work, in one line.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    _keep_freed_memory()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ.get("HEADWATER_THREADS", "1")))
    main, names, paths = _parse(arguments)
    row = next(iter(inspect.signature(main, eval_str=True).parameters.values())).annotation
    try:
        rows = [read_row(row, **names)] if issubclass(row, Row) else []
        main(*rows, **names, **paths)
    except _EXPECTED as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", []))
        title = " ".join([main.__module__.rpartition(".")[2], *names.values()])
        raise StageError(f"{title}: {' '.join(str(error).split())}{notes}") from error


def _parse(arguments: Sequence[str]) -> tuple[Callable[..., None], dict[str, str], dict[str, Any]]:
    """Return the `main` of a stage, and the names (setting, key) and paths that it is called with."""
    parser = argparse.ArgumentParser(
        "python -m stages",
        description="Run one stage; dvc.yaml and settings/NAME/dvc.yaml have them.",
    )
    parser.add_argument("stage", choices=NAMES)
    main = importlib.import_module(f"stages.{parser.parse_args(arguments[:1]).stage}").main
    parser = argparse.ArgumentParser(
        f"python -m stages {arguments[0]}", description=main.__doc__.strip().splitlines()[0]
    )
    parameters = inspect.signature(main, eval_str=True).parameters.values()
    names = [p.name for p in parameters if p.name in ("setting", "key")]
    paths = {p.name: p.annotation for p in parameters if p.annotation in (Path, list[Path])}
    for name in names:
        parser.add_argument(name, help=f"a {name} of params.yaml")
    for name, kind in paths.items():
        parser.add_argument(
            f"--{name}", type=Path, required=True, nargs="+" if kind != Path else None
        )
    found = vars(parser.parse_args(arguments[1:]))
    return main, {name: found[name] for name in names}, {name: found[name] for name in paths}


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of a tensor that is gone for the next one, whoever runs the stage.

    To map and clear fresh pages for each takes a tenth to a quarter of the time of a stage.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc; others have allocators of their own
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, -1)
        os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(2**40))  # its workers
