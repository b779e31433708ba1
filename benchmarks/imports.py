"""What importing the library takes beside importing PyTorch.

python -m benchmarks.imports [--repetitions 15]

Cold processes that take turns. CPU seconds, user and system, since other work on the machine changes
them least; wall seconds are in the record beside them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.measure import machine, ratio_of_medians, save_record
from benchmarks.tables import describe_machine, seconds, table, write_page

__all__ = ["STATEMENTS", "main", "page"]

RESULTS = ROOT / "benchmarks" / "results"
AIM = 1.2
FIRST_USE = """
from headwater import AttributionTask
from headwater.attributors import InfluenceFunction
from headwater.solvers import ConjugateGradient
"""
STATEMENTS = {
    "nothing": "",
    "import torch": "import torch",
    "import headwater": "import headwater, headwater.attributors",
    "a task": "from headwater import AttributionTask",
    "the README's imports": FIRST_USE.strip(),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write imports.json and imports.md into the folder of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    rows: dict[str, dict[str, list[float]]] = {n: {"cpu": [], "wall": []} for n in STATEMENTS}
    for repetition in range(options.repetitions + 1):
        for name, statement in STATEMENTS.items():
            cpu, wall = _run(statement)
            if repetition > 0:  # the first brings the files into memory
                rows[name]["cpu"].append(cpu)
                rows[name]["wall"].append(wall)
    record = {"machine": machine(threads=1), "rows": rows}
    save_record(options.results / "imports.json", record)
    parts = page(record)
    write_page(options.results / "imports.md", parts)
    print(parts[-1])


def page(record: Mapping[str, Any]) -> list[str]:
    """Return the table of a record as Markdown."""
    torch = record["rows"]["import torch"]
    rows = []
    for name, row in record["rows"].items():
        ratios = [f"{ratio_of_medians(row[kind], torch[kind]):.2f} ×" for kind in ("cpu", "wall")]
        rows.append([name, seconds(sorted(row["cpu"])[len(row["cpu"]) // 2]), *ratios])
    return [
        "# Importing the library",
        "Cold processes that take turns, the interpreter's own start included; medians. Aim: at most "
        f"{AIM} times as long as PyTorch alone.",
        describe_machine(record["machine"]),
        table(["", "CPU", "of PyTorch's", "wall time, of PyTorch's"], rows),
    ]


def _run(statement: str) -> tuple[float, float]:
    """Return the CPU and the wall seconds of a cold process that runs a statement."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", statement], cwd=ROOT, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{statement!r} must run, ended with code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, wall


if __name__ == "__main__":
    main()
