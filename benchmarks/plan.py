"""The plan of finished settings beside what they took: ``python -m benchmarks.plan [SETTING ...]``.

Bytes on disk are those of the artifacts, memory what the stages recorded, time what the flow measured
(`results/durations.json`), with whatever else the machine did. Writes benchmarks/results/plan.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.finished import chosen
from benchmarks.measure import machine
from benchmarks.tables import describe_machine, seconds, table, write_page
from pipelines.plan import Planned, plan
from stages.budget import Needs, size
from stages.check import load_params

PAGE = Path("benchmarks/results/plan.md")
ABOUT = """Bytes on disk are those of the artifacts, memory what the stages recorded, time what the flow
measured, with whatever else the machine did. Planned over measured, in bold where the aim is missed:
20 % for bytes, a factor of 2 for memory and time. Of a group, memory is that of its largest run."""
AIMS = {"bytes": 1.2, "memory": 2.0, "seconds": 2.0}
"""How many times one may be the other."""
FOLDERS = {
    "data": "data/{setting}",
    "train": "models/{setting}/{key}",
    "retrain": "retrained/{setting}/{key}",
    "truth": "truth/{setting}",
    "gradients": "gradients/{setting}/{where}",
    "solve": "solve/{setting}/{key}",
    "score": "scores/{setting}/{key}",
}
COSTS = {
    "gradients": "cost/{setting}/gradients/{key}/{problem}.json",
    "solve": "cost/{setting}/solve/{key}.json",
    "score": "cost/{setting}/score/{key}.json",
}


@dataclass(frozen=True)
class Pair:
    """What was planned and what was measured, of one thing of one run."""

    stage: str
    what: str
    planned: float
    measured: float

    @property
    def ratio(self) -> float:
        """How many times the measured the planned is."""
        return self.planned / self.measured if self.measured else float("inf")

    @property
    def good(self) -> bool:
        """Whether the aim is met."""
        return 1 / AIMS[self.what] <= self.ratio <= AIMS[self.what]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and write the page; status 1 where nothing is finished."""
    words = "run", "finished"
    root, names = chosen(arguments, "python -m benchmarks.plan", __doc__, finished, words)
    params = load_params(root / "params.yaml")
    durations = json.loads((root / "results/durations.json").read_text())
    parts = ["# Plans beside runs", ABOUT, describe_machine(machine(1))]
    for name in names:
        runs = plan(name, params)
        parts += [f"## {name}", *compared(name, runs, root, durations)]
    print("\n\n".join(parts))
    write_page(PAGE, parts)
    return 0


def finished(root: Path) -> list[str]:
    """Return the settings that ran, in the order of params.yaml."""
    settings = load_params(root / "params.yaml").settings
    return [name for name in settings if (root / "artifacts/cost" / name).is_dir()]


def compared(
    name: str, runs: Iterable[Planned], root: Path, durations: dict[str, float]
) -> list[str]:
    """Return a table of the groups of stages of a setting, and how many runs meet each aim."""
    pairs = [pair for run in runs for pair in pairs_of(name, run, root, durations)]
    rows = [
        [stage, *(cell for what in AIMS for cell in _cells([p for p in pairs if p.stage == stage], what))]
        for stage in dict.fromkeys(pair.stage for pair in pairs)
    ]  # fmt: skip
    rows.append(["in all", *(cell for what in AIMS for cell in _cells(pairs, what))])
    header = ["stage", *(h for what in AIMS for h in (f"{what}, planned", "measured", "ratio"))]
    met = [
        f"{what}: {sum(p.good for p in own)} of {len(own)} runs within {aim:g} x"
        for what, aim in AIMS.items()
        if (own := [p for p in pairs if p.what == what])
    ]
    return [table(header, rows), "; ".join(met) + "."]


def pairs_of(name: str, run: Planned, root: Path, durations: dict[str, float]) -> Iterable[Pair]:
    """Yield what was planned and measured of one run, where it was."""
    needs = run.needs
    if needs.left_out:
        return
    split = (
        f"clean/{needs.key}/test"
        if needs.problem == "test"
        else f"{needs.problem}/{needs.key}/train"
    )
    places = {"setting": name, "key": needs.key, "problem": needs.problem, "where": split}
    artifacts = root / "artifacts"
    folder = artifacts / FOLDERS.get(needs.stage, "").format(**places)
    if needs.stage in FOLDERS and folder.exists() and needs.disk:
        yield Pair(needs.stage, "bytes", needs.disk, bytes_of(folder))
    cost = artifacts / COSTS.get(needs.stage, "").format(**places)
    if needs.stage in COSTS and cost.is_file():
        parts = json.loads(cost.read_text()).values()
        if peaks := [part["peak_memory_mb"] for part in parts]:
            yield Pair(needs.stage, "memory", needs.memory, max(peaks) * 2**20)
    if (took := durations.get(address(name, needs))) is not None:
        yield Pair(needs.stage, "seconds", run.seconds, took)


def bytes_of(path: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def address(name: str, needs: Needs) -> str:
    """Return what the flow calls a run."""
    stage, key = needs.stage, needs.key
    if needs.problem == "test":
        stage = "test_gradients"
    elif needs.problem:
        key = f"{key}-{needs.problem}"
    return f"settings/{name}/dvc.yaml:{stage}{f'@{key}' if key else ''}"


def _cells(pairs: Sequence[Pair], what: str) -> list[str]:
    """Return the sums of a group, of memory the largest, and their ratio."""
    own = [pair for pair in pairs if pair.what == what]
    if not own:
        return ["–", "–", "–"]
    join: Callable[[Iterable[float]], float] = max if what == "memory" else sum
    both = Pair("", what, join(p.planned for p in own), join(p.measured for p in own))
    words = seconds if what == "seconds" else size
    ratio = f"{both.ratio:.2f}" if both.good else f"**{both.ratio:.2f}**"
    return [words(both.planned), words(both.measured), ratio]


if __name__ == "__main__":
    sys.exit(main())
