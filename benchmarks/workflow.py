"""DVC and the flow, measured on the finished benchmark and on synthetic graphs.

python -m benchmarks.workflow    in the repository's root; nothing else may run meanwhile

CPU seconds are those, user and system, of a command and of all processes that it started, also of
those that outlive it (the flow's fork server): on Linux the measurer adopts and awaits them. The work
of a stage is no cost. A stage that DVC forces runs behind a `python` on the PATH that writes down its
CPU time; a synthetic one in the flow writes down that of its own lines, so that fork, imports and end
of its process are overhead. The cost a stage of a flow from nothing is the rest by the number of
stages; "apart from the start" takes off the CPU seconds of a flow that restores one result (Prefect
and its server, PyTorch in the fork server, DVC's graph) before.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from benchmarks import synthetic, tables
from benchmarks.environment import ROOT
from benchmarks.measure import machine, save_record
from pipelines.environment import cores

__all__ = ["BEFORE", "Refusal", "measure_graph", "measure_synthetic", "on_page", "table"]

RESULT = ROOT / "benchmarks" / "results" / "workflow.json"
PAGE = ROOT / "docs" / "workflow.md"
ONE = "settings/mnist-lr/dvc.yaml:solve@random"
SIZES = (200, 600, 1200)
GRAPHS = ("stages", "largest lock", "`dvc status`", "`dvc dag`", "one forced", "`dvc repro`, no-op",
          "flow, no-op", "flow, a stage")  # fmt: skip
COMMIT = "03c0764"
BEFORE: tuple[tuple[str, float, float, float, float, float | None], ...] = (
    ("100 stages of 10 deps", 0.15, 1.5, 1.3, 2.1, 2.8),
    ("200 of 10", 0.30, 3.2, 2.3, 3.8, 5.1),
    ("400 of 10", 0.60, 6.1, 3.2, 6.1, 11.0),
    ("1,200 of 10", 1.80, 34.7, 12.2, 17.7, None),
    ("100 of 40", 0.45, 4.0, 2.1, 4.4, 5.1),
    ("200 of 40", 0.90, 5.9, 3.6, 8.3, 10.6),
    ("400 of 40", 1.80, 10.6, 5.8, 16.0, 20.4),
    ("200 of 10, rows in YAML", 0.30, 15.3, 2.0, 3.9, 17.9),
)
"""The old layout, one file for all stages: MB of dvc.lock, CPU s of status, dag, one forced, no-op."""
REAL: tuple[tuple[str, str, str, str, float | None], ...] = (
    ("`dvc status`", "130 s CPU", "status cpu", "s CPU", 15),
    ("`dvc repro`, nothing to do", "465 s of wall time, busy", "repro cpu", "s CPU", 30),
    ("`dvc repro -s -f`, one stage, above its work", "22 s wall", "one above", "s CPU", 5),
    ("`dvc dag`", "28 s of wall time, busy", "dag cpu", "s CPU", None),
    ("`make benchmark`, nothing to do", "2.6 s wall, 193 stages", "flow cpu", "s CPU", 20),
    ("`make status`", "–", "explain cpu", "s CPU", None),
    ("stages", "386", "stages", "", None),
    ("the largest `dvc.lock`", "2,400 kB", "largest_lock_kb", "kB", 250),
    ("entries a stage at most", "42", "entries most", "", 10),
    ("entries a stage on average", "42", "entries mean", "", None),
    ("`artifacts/`", "17 GB", "artifacts_gb", "GB", 9),
    ("`artifacts/` and the cache", "17 GB", "disk_gb", "GB", None),
)
"""What, the number at COMMIT, where it is in a record now, its unit, and at most how much it may be."""
SCRATCH = ("the flow from nothing, a stage, above its work, {} synthetic stages",
           "0.37 s CPU, 193 stages", "scratch above", "s CPU", 0.25)  # fmt: skip
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_ORPHANS_END = 60.0  # seconds
_MARKS = re.compile(r"(<!-- measurements:.*?-->\n).*?(<!-- end of measurements -->)", re.DOTALL)
_WRAPPER = '#!/bin/sh\n{python} "$@"; code=$?; times > {times}; exit $code\n'


class Refusal(RuntimeError):
    """It cannot be measured; one line that says why."""


def run(module: str, folder: Path, **variables: str) -> dict[str, float]:
    """Run ``python -m`` a module with arguments, say and return its CPU and wall seconds.

    Raises:
        Refusal: It failed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT), "PATH": path}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        env = {**os.environ, **quiet, **variables}
        cpu, wall, code, last = pool.submit(_run, module, folder, env).result()
    if code:
        raise Refusal(f"python -m {module} ended with exit code {code}: {last}".rstrip(": "))
    print(f"  {module}: {cpu:.1f} s CPU, {wall:.1f} s of wall time", flush=True)
    return {"cpu": cpu, "wall": wall}


def _run(module: str, folder: Path, env: dict[str, str]) -> tuple[float, float, int, str]:
    """Do so in a process that has no other children."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    with tempfile.TemporaryFile() as file:
        start = time.perf_counter()
        command = [sys.executable, "-m", *module.split()]
        code = subprocess.call(command, cwd=folder, env=env, stdout=file, stderr=file)
        wall = time.perf_counter() - start
        with suppress(ChildProcessError):
            while time.perf_counter() < start + wall + _ORPHANS_END:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.02)
        file.seek(0)
        lines = ["", *filter(str.strip, file.read().decode(errors="replace").splitlines())]
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]), wall, code, lines[-1]


def measure_graph(folder: Path, one: str, **variables: str) -> dict[str, Any]:
    """Measure a graph that is up to date, and leave it as it was; `one` is the stage that is forced.

    Raises:
        Refusal: It is not up to date.
    """
    locks = _locks(folder)
    try:
        run("dvc status --quiet", folder, **variables)  # it fails if anything is to do
    except Refusal as error:
        raise Refusal(f"{folder} must hold a finished benchmark: {error}") from None
    modules = {name: f"dvc {name}" for name in ("status", "dag", "repro")}
    modules |= {"flow": "pipelines.benchmark", "explain": "pipelines.status"}
    found: dict[str, Any] = {k: run(module, folder, **variables) for k, module in modules.items()}
    if _locks(folder) != locks:
        raise Refusal("nothing was to do, and yet a dvc.lock is another one now")
    runs = set(folder.glob(".dvc/cache/runs/*/*/*"))
    try:
        found["one"] = _force(folder, one, variables)
    finally:  # the seconds that it took, which are an out of it, may be others now
        for path, content in locks.items():
            path.write_bytes(content)
        for path in set(folder.glob(".dvc/cache/runs/*/*/*")) - runs:
            path.unlink()
        run(f"dvc checkout --force {one}", folder, **variables)
        run("dvc status --quiet", folder, **variables)
    return {**found, **lock_sizes(locks, folder), **_gigabytes(folder)}


def _force(folder: Path, one: str, variables: Mapping[str, str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        times, wrapper = Path(name, "times"), Path(name, "python")
        wrapper.write_text(_WRAPPER.format(python=sys.executable, times=times))
        wrapper.chmod(0o755)
        path = os.pathsep.join((name, str(Path(sys.executable).parent), os.environ["PATH"]))
        found = run(f"dvc repro -s -f {one}", folder, **{**variables, "PATH": path})
        work = child_seconds(times.read_text())
    return {**found, "work": work, "above": found["cpu"] - work}


def child_seconds(times: str) -> float:
    """Return the seconds of a shell's children from what its `times` prints, like ``0m1.5s 0m0.2s``."""
    parts = [part.rstrip("s").split("m") for part in times.splitlines()[1].split()]
    return sum(60 * float(minutes) + float(seconds) for minutes, seconds in parts)


def _locks(folder: Path) -> dict[Path, bytes]:
    paths = [folder / "dvc.lock", *sorted(folder.glob("settings/*/dvc.lock"))]
    return {path: path.read_bytes() for path in paths if path.exists()}


def lock_sizes(locks: Mapping[Path, bytes], folder: Path) -> dict[str, Any]:
    """Return the number of stages, entries a stage (deps, parameters, outs) and bytes of each file."""
    entries = []
    for content in locks.values():
        for stage in yaml.load(content, yaml.CSafeLoader)["stages"].values():
            parameters = sum(map(len, stage.get("params", {}).values()))
            entries.append(len(stage.get("deps", ())) + parameters + len(stage.get("outs", ())))
    return {
        "stages": len(entries),
        "entries": {"most": max(entries), "mean": sum(entries) / len(entries)},
        "lock_bytes": {str(path.relative_to(folder)): len(c) for path, c in locks.items()},
        "largest_lock_kb": max(map(len, locks.values())) / 1e3,
    }


def _gigabytes(folder: Path) -> dict[str, float]:
    """The GB of files, counted once an inode: a hard link of another takes no room."""
    sizes: dict[str, dict[tuple[int, int], int]] = {}
    for name in ("artifacts", ".dvc/cache"):
        files = (path.lstat() for path in (folder / name).rglob("*") if not path.is_dir())
        sizes[name] = {(file.st_dev, file.st_ino): file.st_size for file in files}
    both = sum((sizes["artifacts"] | sizes[".dvc/cache"]).values())
    return {"artifacts_gb": sum(sizes["artifacts"].values()) / 1e9, "disk_gb": both / 1e9}


def measure_synthetic(folder: Path, stages: int) -> dict[str, Any]:
    """Build a graph of about so many stages, run the flow from nothing, and measure what is there."""
    count = synthetic.build(folder, *synthetic.shape(stages))
    clock, site = folder.with_name(f"{folder.name}.clock"), f"{folder}.site"
    print(f"{count} stages, from nothing, with one result restored, and up to date", flush=True)
    scratch = run("pipelines.benchmark", folder, TOY_CLOCK=str(clock), DVC_SITE_CACHE_DIR=site)
    works = [float(line) for line in clock.read_text().split()]
    if len(works) != count:
        raise Refusal(f"{count} stages had to run, {len(works)} did")
    (folder / synthetic.EVALUATION).unlink()
    start = run("pipelines.benchmark", folder, DVC_SITE_CACHE_DIR=site)
    above = scratch["cpu"] - sum(works)
    scratch |= {"work": sum(works), "above": above / count, "apart": (above - start["cpu"]) / count}
    found = measure_graph(folder, synthetic.ONE, DVC_SITE_CACHE_DIR=site)
    return {**found, "scratch": scratch, "start": start}


def table(record: dict[str, Any]) -> str:
    """Return the Markdown of a record: the finished benchmark beside its targets, synthetic graphs."""
    graphs, versions = record["synthetic"], record["versions"]
    rows = [_cells(record["real"], *row) for row in REAL if "real" in record]
    near = min(graphs, key=lambda graph: abs(graph["stages"] - SIZES[0]))
    rows.append(_cells(near, SCRATCH[0].format(near["stages"]), *SCRATCH[1:]))
    parts = (
        f"Made by `python -m benchmarks.workflow` on {tables.describe_machine(record['machine'])} "
        f"dvc {versions['dvc']}, prefect {versions['prefect']}.",
        tables.table(["", f"at {COMMIT}", "now", "whole command", "target", "met"], rows),
        "Synthetic graphs, stages of milliseconds, CPU seconds. Above: one `dvc.yaml` for all, as at "
        f"{COMMIT}; below, in bold: one for about 100 stages, as here. The last column is the CPU time "
        "a stage above its work of a flow from nothing, in brackets apart from the flow's start.",
        tables.table(GRAPHS, [*(_old_cells(*old) for old in BEFORE), *map(_graph_cells, graphs)]),
    )
    return "\n\n".join(parts)


def _cells(found: Any, what: str, old: str, path: str, unit: str, target: Any) -> list[str]:
    name, *part = path.split()
    value = found[name][part[0]] if part else found[name]
    wall = f"{_number(found[name]['wall'])} s" if part and "wall" in found[name] else "–"
    now = f"{_number(value)} {unit}".strip()
    if target is None:
        return [what, old, now, wall, "–", "–"]
    return [what, old, now, wall, f"{target} {unit}".strip(), "yes" if value <= target else "no"]


def _old_cells(name: str, megabytes: float, *seconds: float | None) -> list[str]:
    cells = ["–" if s is None else f"{_number(s)} s" for s in seconds]
    return [name, f"{_number(megabytes * 1e3)} kB", *cells, "–", "–"]


def _graph_cells(graph: dict[str, Any]) -> list[str]:
    name = f"**{graph['stages']:,}** in {len(graph['lock_bytes'])} files"
    cells = [f"{_number(graph[c]['cpu'])} s" for c in ("status", "dag", "one", "repro", "flow")]
    above, apart = (_number(graph["scratch"][part]) for part in ("above", "apart"))
    return [name, f"{_number(graph['largest_lock_kb'])} kB", *cells, f"{above} s ({apart})"]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.3g}"


def on_page(page: str, text: str) -> str:
    """Return the page with the text between its marks; a page without marks is refused."""
    if not _MARKS.search(page):
        raise Refusal("the page must have the marks `measurements: ...` and `end of measurements`")
    return _MARKS.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page, count=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the record, and the tables into docs/workflow.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workflow", description=__doc__)
    add = parser.add_argument
    add("--synthetic-only", action="store_true", help="leave out the finished benchmark")
    add("--sizes", type=int, nargs="+", default=SIZES, help="stages of the synthetic graphs")
    add("--out", type=Path, default=RESULT, help="default: also writes docs/workflow.md")
    options = parser.parse_args(arguments)
    record: dict[str, Any] = {"machine": machine(cores()), "synthetic": []}
    record["versions"] = {name: version(name) for name in ("dvc", "prefect")}
    record["load_before"] = os.getloadavg()[0]
    try:
        if not options.synthetic_only:
            print("the finished benchmark", flush=True)
            record["real"] = measure_graph(Path.cwd(), ONE)
        for size in options.sizes:
            with tempfile.TemporaryDirectory() as scratch:
                record["synthetic"].append(measure_synthetic(Path(scratch, "graph"), size))
        save_record(options.out, record)
        text = table(json.loads(options.out.read_text()))
        if options.out == RESULT:
            PAGE.write_text(on_page(PAGE.read_text(), text))
    except Refusal as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
