"""Headwater beside its peers: a table of times, memory and agreement for each problem.

python -m benchmarks.peers [--problems conv gpt ...] [--methods grad-dot if-cg ...]

Each repetition of each side is a cold process; all run on the same inputs with the same threads.
Rows are written as they come. Those that are not asked for stay, if they were measured on the same
machine and sizes.
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
from benchmarks.methods import METHODS, PROBLEMS, Contender, Method
from benchmarks.peers_page import page
from benchmarks.processes import run_side
from benchmarks.tables import write_page

__all__ = ["Run", "measure_method", "start_record"]

RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("dattri", "kronfluence", "traker")


@dataclass(frozen=True)
class Run:
    """What all rows of one table share.

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


def start_record(
    path: Path, common: dict[str, Any], sizes: dict[str, dict[str, int]]
) -> dict[str, Any]:
    """Return the record to go on with: what of the one of before was measured under the same terms.

    Args:
        path: of the record of before, if there is one.
        common: what holds for all problems, their machine and versions.
        sizes: of the problems that are measured now, ``n_train`` and ``n_test`` by name.
    """
    found = json.loads(path.read_text()) if path.exists() else {}
    same = all(found.get(key) == common[key] for key in ("machine", "repetitions", "versions"))
    before = found.get("problems", {}) if same else {}
    problems = dict(before)
    for name, own in sizes.items():
        kept = name in before and all(before[name][key] == own[key] for key in own)
        problems[name] = {**own, "rows": before[name]["rows"] if kept else {}}
    return {**common, "problems": problems}


def main() -> None:
    """Measure, and write results/peers.json and results/peers.md."""
    options = _options()
    peers = make_environment(options.peers)
    common = {
        "machine": machine(options.threads),
        "repetitions": options.repetitions,
        "versions": {package: pip_version(peers, package) for package in PACKAGES},
        "gemm_gflops": _gemm_gflops(options.threads),
    }
    sizes = {
        problem.key: {
            "n_train": options.n_train or problem.n_train,
            "n_test": options.n_test or problem.n_test,
        }
        for problem in PROBLEMS
        if problem.key in options.problems
    }
    path = options.results / "peers.json"
    record = start_record(path, common, sizes)
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        for problem, size in sizes.items():
            found = record["problems"][problem]
            run = Run(
                Path(temporary) / problem, peers, size["n_train"], options.threads,
                options.repetitions, 60 * options.limit,
            )  # fmt: skip
            found |= _save_problem(run.folder, problem, **size)
            for method in METHODS:
                if method.problem != problem or method.key not in options.methods:
                    continue
                try:
                    found["rows"][method.key] = measure_method(run, method)
                except RuntimeError as error:  # an hour of other rows is not lost with it
                    failed.append(f"{problem}: {error}")
                    continue
                save_record(path, record)
                write_page(path.with_suffix(".md"), page(json.loads(path.read_text())))
    if failed:
        raise SystemExit("\n".join(failed))
    print(path.with_suffix(".md").read_text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for option, kinds in (("problems", PROBLEMS), ("methods", METHODS)):
        keys = list(dict.fromkeys(kind.key for kind in kinds))
        names = {"choices": keys, "default": keys, "metavar": option[:-1].upper()}
        parser.add_argument(f"--{option}", nargs="+", **names)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--n-train", type=int, help="training samples; default: the problem's own")
    parser.add_argument("--n-test", type=int, help="test samples; default: the problem's own")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--limit", type=float, default=10, help="minutes that one side may take")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder of their environment")
    return parser.parse_args()


def _save_problem(folder: Path, name: str, n_train: int, n_test: int) -> dict[str, int]:
    """Write a problem in a process of its own, and return the numbers of its parameters.

    This process stays small, and imports no torch.
    """
    arguments = [str(folder), name, str(n_train), str(n_test)]
    subprocess.run([sys.executable, "-m", "benchmarks.problem", *arguments], cwd=ROOT, check=True)
    saved = json.loads((folder / "problem.json").read_text())
    return {key: saved[key] for key in ("parameters", "attributed")}


def _gemm_gflops(threads: int) -> float:
    command = [sys.executable, "-m", "benchmarks.gemm_rate", str(threads)]
    found = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return float(found.stdout)


if __name__ == "__main__":
    main()
