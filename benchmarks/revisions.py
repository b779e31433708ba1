"""This tree beside an earlier commit.

python -m benchmarks.revisions COMMIT [--problems mnist-mlp ...] [--methods grad-dot if-cg ...]

Both run the same calls on the same inputs, in cold processes that take turns, each with the sides of
its own tree. A ratio is the seconds of the commit over those of this tree: below 1, this tree is slower.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.measure import machine, save_record
from benchmarks.methods import METHODS, PROBLEMS
from benchmarks.processes import run_side
from benchmarks.tables import describe_machine, table, write_page

__all__ = ["main", "page"]

RESULTS = ROOT / "benchmarks" / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write revisions.json and revisions.md into the folder of results."""
    options = _options(arguments)
    path, rows = options.results / "revisions.json", dict[str, Any]()
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        _git("worktree", "add", "--detach", str(tree), options.commit)
        try:
            for problem in PROBLEMS:
                keys = [m.key for m in METHODS if m.problem == problem.key]
                keys = [key for key in keys if key in options.methods]
                if problem.key not in options.problems or not keys:
                    continue
                folder = Path(temporary) / problem.key
                sizes = [problem.key, str(problem.n_train), str(problem.n_test)]
                command = [sys.executable, "-m", "benchmarks.problem", str(folder), *sizes]
                subprocess.run(command, cwd=ROOT, check=True)
                for key in keys:
                    row = _row([tree, ROOT], folder, key, options)
                    rows[f"{problem.key} {key}"] = row
                    print(problem.key, key, row, flush=True)
        finally:
            _git("worktree", "remove", "--force", str(tree))
    record = json.loads(path.read_text()) if path.exists() else {}
    record = with_rows(record, _git("rev-parse", "--short", options.commit), options.threads, rows)
    save_record(path, record)
    write_page(options.results / "revisions.md", page(record))


def with_rows(
    record: dict[str, Any], commit: str, threads: int, rows: dict[str, Any]
) -> dict[str, Any]:
    """Return the record with rows measured on this machine; those of the same commit stay."""
    runs = record["runs"] if record.get("commit") == commit else []
    here = machine(threads)
    others = [run for run in runs if run["machine"] != here]
    known = {k: v for run in runs if run["machine"] == here for k, v in run["rows"].items()}
    return {"commit": commit, "runs": [*others, {"machine": here, "rows": {**known, **rows}}]}


def page(record: dict[str, Any]) -> list[str]:
    """Return the tables of a record as Markdown, one a machine."""
    tables = [part for run in record["runs"] for part in _table(run)]
    return [
        "# This tree beside an earlier one",
        f"Commit {record['commit']} and this tree, whole calls in cold processes that take turns: "
        "the fastest of each, what else ran only slows them. Faster: seconds before over seconds now.",
        *tables,
    ]


def _table(run: dict[str, Any]) -> list[str]:
    rows = []
    for name, row in run["rows"].items():
        before, now = (min(row[side]["seconds"]) for side in ("before", "now"))
        memory = [f"{max(row[side]['peak_mb']):.0f}" for side in ("before", "now")]
        rows.append([name, f"{before:.3g}", f"{now:.3g}", f"{before / now:.2f} ×", *memory])
    head = ["", "before, s", "now, s", "faster", "before, MB", "now, MB"]
    return [describe_machine(run["machine"]), table(head, rows)]


def _row(trees: list[Path], folder: Path, key: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds and the peaks of both trees, in turns; few of them where one takes long."""
    found: dict[str, Any] = {side: {"seconds": [], "peak_mb": []} for side in ("before", "now")}
    for _ in range(options.repetitions):
        for side, tree in zip(found, trees, strict=True):
            output = folder / "results" / f"{side}-{key}"
            command = [sys.executable, "-m", "benchmarks.side", "headwater", key]
            command += [str(folder), str(output)]
            run = run_side(command, output, options.threads, 1, 3600.0, cwd=tree)
            if not run["finished"]:
                raise RuntimeError(f"{key} {side} must finish, got {run}; mend it first")
            found[side]["seconds"].append(run["seconds"])
            found[side]["peak_mb"].append(run["peak_mb"])
        if sum(found["now"]["seconds"]) > options.enough:
            break
    return found


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return run.stdout.strip()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="what this tree is measured beside")
    for option, kinds in (("problems", PROBLEMS), ("methods", METHODS)):
        keys = list(dict.fromkeys(kind.key for kind in kinds))
        names = {"choices": keys, "default": keys, "metavar": option[:-1].upper()}
        parser.add_argument(f"--{option}", nargs="+", **names)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--enough", type=float, default=20, help="seconds of a side that will do")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
