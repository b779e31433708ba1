"""Headwater beside dattri: exact Grad-Dot on mnist-mlp, 5,000 × 500, capture included.

python -m benchmarks.peers

Each repetition of each side is a cold process; both run on the same inputs with the same threads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import ROOT, make_environment, pip_version
from benchmarks.measure import machine, save_record
from benchmarks.tables import describe_machine, seconds, table, write_page

__all__ = ["compare_scores", "page", "run_side"]

RESULTS = ROOT / "benchmarks" / "results"
LIMIT = 600.0
"""Seconds that one process may take."""
LONG = 60.0
"""Seconds from which on one repetition is enough."""
REPETITIONS = 3
LABELS = {
    "headwater": "Headwater, exact",
    "dattri-exact": 'dattri, exact (`proj_type="identity"`)',
    "dattri-default": "dattri, as it comes (projected to 512)",
}


def run_side(
    side: str, python: Path, problem: Path, output: Path, threads: int, repetitions: int
) -> dict[str, Any]:
    """Run one side in cold processes and return its medians.

    A side that takes longer than a minute is run once; one that takes ten is entered as unfinished.

    Raises:
        RuntimeError: if the process fails.
    """
    command = [str(python), "-m", "benchmarks.grad_dot", side, str(problem), str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    records: list[dict[str, float]] = []
    while len(records) < repetitions and (not records or records[0]["seconds"] <= LONG):
        try:
            subprocess.run(
                [*command, str(threads)], cwd=ROOT, env=environment, timeout=LIMIT,
                check=True, capture_output=True, text=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"finished": False}
        except subprocess.CalledProcessError as error:
            raise RuntimeError(
                f"{side} must run, but it failed:\n{error.stderr[-2000:]}"
            ) from error
        records.append(json.loads((output / "record.json").read_text()))
    columns = {name: [record[name] for record in records] for name in records[0]}
    medians = {name: median(values) for name, values in columns.items()}
    return {"finished": True, **medians, "repetitions": sorted(columns["seconds"])}


def compare_scores(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> dict[str, float]:
    """Compare our scores, -⟨∇f, ∇ℓ⟩, with a peer's, +⟨∇f, ∇ℓ⟩.

    Returns:
        ``difference``: max |ours + theirs| / max |ours|; ``correlation`` of -ours and theirs.
    """
    a, b = -ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    return {
        "difference": float(np.abs(a - b).max() / np.abs(a).max()),
        "correlation": float(np.corrcoef(a, b)[0, 1]),
    }


def page(record: dict[str, Any]) -> list[str]:
    """Return the parts of the page of results."""
    sides, agreement = record["sides"], record["agreement"]
    ours = sides["headwater"]["seconds"]
    rows = []
    for name, side in sides.items():
        if not side["finished"]:
            rows.append([LABELS[name], f"did not finish in {LIMIT / 60:.0f} min", *["–"] * 5])
            continue
        same = agreement.get(name)
        rows.append([
            LABELS[name],
            seconds(side["seconds"]),
            str(len(side["repetitions"])),
            f"{side['seconds'] / ours:.3g} ×",
            f"{side['peak_mb']:,.0f} MB",
            "–" if same is None else f"{same['difference']:.1e}",
            "–" if same is None else f"{same['correlation']:.4f}",
        ])  # fmt: skip
    header = ["", "time (median)", "runs", "of ours", "peak memory", "difference", "correlation"]
    n, m = record["n_train"], record["n_test"]
    return [
        f"# Grad-Dot beside dattri {record['dattri']}",
        f"mnist-mlp (109,386 parameters), {n:,} training × {m:,} test samples, batches of 500. "
        "Time from the task and its loaders to the scores, capture of all gradients included, in a "
        "cold process; imports, those that torch puts off too, are not timed. Peak memory is the "
        "whole process's "
        f"({sides['headwater']['peak_mb_before']:,.0f} MB before the timed part on our side).",
        table(header, rows),
        "Difference: max |ours + theirs| / max |ours| over all scores, theirs carrying the opposite "
        "sign; correlation with ours over all scores.",
        describe_machine(record["machine"]),
    ]


def main() -> None:
    """Run all sides and write results/peers.json and results/peers.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--n-train", type=int, default=5000)
    parser.add_argument("--n-test", type=int, default=500)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    peer, own = make_environment(), Path(sys.executable)
    sides: dict[str, Any] = {}
    scores: dict[str, NDArray[np.float32]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # In a process of its own as well: this one stays small, and imports no torch.
        arguments = f"{str(folder)!r}, {options.n_train}, {options.n_test}"
        code = "from pathlib import Path; from benchmarks.problem import save_problem; "
        code += f"save_problem(*(Path(a) if isinstance(a, str) else a for a in ({arguments})))"
        subprocess.run([str(own), "-c", code], cwd=ROOT, check=True)
        for side in LABELS:
            python = own if side == "headwater" else peer
            output = folder / side
            sides[side] = run_side(
                side, python, folder, output, options.threads, options.repetitions
            )
            print(f"{side}: {sides[side]}", flush=True)
            if sides[side]["finished"]:
                scores[side] = np.load(output / "scores.npy", allow_pickle=False)
    record = {
        "agreement": {
            side: compare_scores(scores["headwater"], found)
            for side, found in scores.items()
            if side != "headwater"
        },
        "dattri": pip_version(peer, "dattri"),
        "machine": machine(options.threads),
        "n_test": options.n_test,
        "n_train": options.n_train,
        "sides": sides,
    }
    save_record(options.results / "peers.json", record)
    write_page(options.results / "peers.md", page(record))
    print((options.results / "peers.md").read_text())


if __name__ == "__main__":
    main()
