"""Cold processes: each repetition of each side is one of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.environment import ROOT

__all__ = ["LONG", "run_side"]

LONG = 300.0
"""Seconds from which on one repetition is enough."""


def run_side(
    command: list[str], output: Path, threads: int, repetitions: int, limit: float, cwd: Path = ROOT
) -> dict[str, Any]:
    """Run a side in cold processes and return its medians.

    A side that takes longer than `LONG` is run once; one that takes longer than the limit is
    stopped, and entered as unfinished; so is one that fails, with the last line of what it said.

    Args:
        command: what runs `benchmarks.side`, all but the number of threads.
        output: the folder that it writes into.
        threads: that it may use.
        repetitions: how often it is run, if it is short.
        limit: seconds that one process may take.
        cwd: the tree whose code runs.

    Returns:
        ``seconds``, ``peak_mb`` and ``peak_mb_before`` as medians and all ``repetitions``, or
        ``limit``, or ``error``; ``finished`` says which.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    records: list[dict[str, float]] = []
    while len(records) < repetitions and (not records or records[0]["seconds"] <= LONG):
        try:
            subprocess.run(
                [*command, str(threads)], cwd=cwd, env=environment, timeout=limit,
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"finished": False, "limit": limit}
        except subprocess.CalledProcessError as error:
            return {"finished": False, "error": _last_line(error)}
        records.append(json.loads((output / "record.json").read_text()))
    columns = {name: [record[name] for record in records] for name in records[0]}
    medians = {name: median(values) for name, values in columns.items()}
    return {"finished": True, **medians, "repetitions": sorted(columns["seconds"])}


def _last_line(error: subprocess.CalledProcessError) -> str:
    if error.returncode < 0:
        return f"ended by signal {-error.returncode}"
    lines = [line.strip() for line in (error.stderr or "").splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {error.returncode}"
