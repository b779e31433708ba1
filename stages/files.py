"""Files that stages exchange: written atomically, in formats whose bytes follow from the content."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

__all__ = ["atomic", "kept_folder", "load_json", "resumable", "save_array", "save_json"]

WORK = Path("work")


@contextlib.contextmanager
def atomic(out: Path) -> Iterator[Path]:
    """Yield a path beside `out` that takes its place when the block ends well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    _remove(partial)
    yield partial
    _remove(out)
    os.replace(partial, out)


@contextlib.contextmanager
def resumable(out: Path, row: BaseModel, *inputs: Path, note: str = "") -> Iterator[Path]:
    """Yield a folder that outlives a crash and becomes `out` at a clean end.

    Its name is a hash of the row, the inputs, a note and the code: a run with the same ones goes on where
    a killed run stopped, one with others starts afresh. A second run waits for an orphan of the first.
    """
    with kept_folder(out, _identity(row, inputs, note)) as scratch:
        yield scratch
        for leftover in scratch.rglob("*.partial"):
            leftover.unlink()
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove(out)
        os.replace(scratch, out)


@contextlib.contextmanager
def kept_folder(out: Path, identity: str) -> Iterator[Path]:
    """Yield a folder of a stage's own that stays as long as it is asked for by the same identity.

    A second run waits for an orphan of the first.
    """
    base = WORK / out
    base.mkdir(parents=True, exist_ok=True)
    folder = base / identity
    with open(base / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it when the process dies
        for old in base.iterdir():
            if old.is_dir() and old != folder:
                shutil.rmtree(old)
        folder.mkdir(exist_ok=True)
        yield folder


def save_json(path: Path, record: Mapping[str, Any] | list[dict[str, Any]]) -> None:
    """Write a record as JSON with sorted keys."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n")


def load_json(path: Path) -> Any:
    """Read a record."""
    return json.loads(path.read_text())


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as .npy."""
    with atomic(path) as partial, open(partial, "wb") as file:
        np.save(file, array, allow_pickle=False)


def _identity(row: BaseModel, inputs: tuple[Path, ...], note: str) -> str:
    sources = [p for top in Path().glob("*/__init__.py") for p in top.parent.rglob("*.py")]
    code = [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(sources)]
    files = [f for p in inputs for f in ([p] if p.is_file() else sorted(p.rglob("*")))]
    stamps = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
    text = json.dumps([row.model_dump(mode="json"), note, code, stamps], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
