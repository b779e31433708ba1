"""Headwater beside its peers on mnist-mlp: one table of times, memory and agreement.

python -m benchmarks.peers [--methods grad-dot if-cg ...]

Each repetition of each side is a cold process; all run on the same inputs with the same threads.
Rows are written as they come. With --methods the other rows of the table stay, if they were
measured on the same machine and sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison import compare_results
from benchmarks.environment import PEERS, ROOT, make_environment, pip_version
from benchmarks.measure import machine, save_record
from benchmarks.methods import METHODS, Contender, Method
from benchmarks.peers_page import page
from benchmarks.processes import run_side
from benchmarks.tables import write_page

__all__ = ["Run", "measure_method", "start_record"]

RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("dattri", "kronfluence", "traker")


@dataclass(frozen=True)
class Run:
    """What all rows of one run share.

    Args:
        folder: where the problem lies, and results go.
        peers: Python of the peers' environment.
        n_train: training samples.
        threads: of every process.
        repetitions: of every side that is short.
        limit: seconds that one process may take.
    """

    folder: Path
    peers: Path
    n_train: int
    threads: int
    repetitions: int
    limit: float

    def side(self, side: str, call: str) -> dict[str, Any]:
        """Run a call of one side."""
        python = Path(sys.executable) if side == "headwater" else self.peers
        output = self.output(side, call)
        command = [str(python), "-m", "benchmarks.side", side, call, str(self.folder), str(output)]
        found = run_side(command, output, self.threads, self.repetitions, self.limit)
        print(f"{side} {call}: {found}", flush=True)
        return found

    def output(self, side: str, call: str) -> Path:
        """Return the folder of a call's result."""
        return self.folder / "results" / f"{side}-{call}"


def measure_method(run: Run, method: Method) -> dict[str, Any]:
    """Measure our side of a method and every contender.

    Raises:
        RuntimeError: if our own side does not finish.
    """
    ours = run.side("headwater", method.key)
    if not ours["finished"]:
        raise RuntimeError(f"our side of {method.key} must finish, got {ours}: correct it first")
    contenders = []
    for contender in method.contenders:
        found = run.side(contender.side, contender.call)
        agreement = _agreement(run, method, contender) if found["finished"] else None
        contenders.append({**found, "agreement": agreement})
    return {"headwater": ours, "contenders": contenders}


def _agreement(run: Run, method: Method, contender: Contender) -> dict[str, Any]:
    ours, theirs = (
        np.load(run.output(*call) / "result.npy", allow_pickle=False)
        for call in (("headwater", method.key), (contender.side, contender.call))
    )
    return compare_results(ours, theirs, contender.agreement.factor(run.n_train))


def start_record(path: Path, common: dict[str, Any]) -> dict[str, Any]:
    """Return the record to go on with: the one of before, if it was measured under the same terms."""
    if path.exists():
        before = json.loads(path.read_text())
        same = ("machine", "n_train", "n_test", "repetitions", "versions")
        if all(before.get(key) == common[key] for key in same):
            return {**common, "rows": before["rows"]}
    return {**common, "rows": {}}


def main() -> None:
    """Measure, and write results/peers.json and results/peers.md."""
    options = _options()
    peers = make_environment(options.peers)
    chosen = [method for method in METHODS if method.key in options.methods]
    common = {
        "machine": machine(options.threads),
        "n_test": options.n_test,
        "n_train": options.n_train,
        "repetitions": options.repetitions,
        "versions": {package: pip_version(peers, package) for package in PACKAGES},
        "gemm_gflops": _gemm_gflops(options.threads),
    }
    path = options.results / "peers.json"
    record = start_record(path, common)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _save_problem(folder, options.n_train, options.n_test)
        run = Run(
            folder, peers, options.n_train, options.threads, options.repetitions,
            60 * options.limit,
        )  # fmt: skip
        failed = []
        for method in chosen:
            try:
                record["rows"][method.key] = measure_method(run, method)
            except RuntimeError as error:  # an hour of other rows is not lost with it
                failed.append(str(error))
                continue
            save_record(path, record)
            write_page(path.with_suffix(".md"), page(json.loads(path.read_text())))
    if failed:
        raise SystemExit("\n".join(failed))
    print(path.with_suffix(".md").read_text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    keys = [method.key for method in METHODS]
    parser.add_argument("--methods", nargs="+", choices=keys, default=keys, metavar="METHOD")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--n-train", type=int, default=5000)
    parser.add_argument("--n-test", type=int, default=500)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--limit", type=float, default=10, help="minutes that one side may take")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder of their environment")
    return parser.parse_args()


def _save_problem(folder: Path, n_train: int, n_test: int) -> None:
    """Write the problem in a process of its own: this one stays small, and imports no torch."""
    code = "import sys; from pathlib import Path; from benchmarks.problem import save_problem; "
    code += "save_problem(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))"
    arguments = [str(folder), str(n_train), str(n_test)]
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=True)


def _gemm_gflops(threads: int) -> float:
    command = [sys.executable, "-m", "benchmarks.gemm_rate", str(threads)]
    found = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return float(found.stdout)


if __name__ == "__main__":
    main()
