"""Stage solve: everything a method computes before its scores.

What depends on the training data alone, the choice of the damping, P applied to the test gradients.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from headwater.attributors.attributor import Attributor
from headwater.benchmark.tuning import lds_of_each
from headwater.gradients.source import StoredSource
from headwater.progress import track
from headwater.solvers import State
from stages.contract import Clock
from stages.device import resolve_device
from stages.files import load_json, resumable, save_json
from stages.methods import Problem, tuned
from stages.params import Device, Infeasible, Method, over_budget
from stages.problem import save_state
from stages.recipes import damping_of, magnitude_of
from stages.row import At, Row


class SolveRow(Row):
    """A method, and how many test samples choose its damping."""

    method: Annotated[Method, At("methods.{key}")]
    n_tune: Annotated[int, At("settings.{setting}.n_tune")]
    device: Annotated[Device, At("settings.{setting}.device")]


def main(
    row: SolveRow,
    setting: str,
    key: str,
    *,
    code: Path,
    data: Path,
    models: Path,
    gradients: Path,
    truth: Path,
    out: Path,
    cost: Path,
) -> None:
    """Prepare, choose the damping on the tuning samples, and solve for the test gradients."""
    clock, where, over = Clock(), f"methods.{key}", over_budget(code)
    with resumable(out, row, data, models, gradients, truth, note=over) as scratch:
        try:
            row.method.check_feasible(setting, over)
            device = resolve_device(row.device)
            problem = Problem(data, models, gradients, row.method.count, device)
        except Infeasible as left_out:
            save_json(scratch / "choice.json", left_out.record())
        else:
            candidates = row.method.candidates(setting, where)
            attributors = [problem.attributor(row.method, c, where) for c in candidates]
            solve = _Solve(problem, attributors, scratch, clock)
            if not (scratch / "choice.json").exists():
                save_json(scratch / "choice.json", solve.choose(candidates, truth, row.n_tune))
            chosen = load_json(scratch / "choice.json")["arguments"]
            solve.all(attributors[candidates.index(chosen)])
    clock.save(cost)


class _Solve:
    """The work of one method on one setting; what was prepared to tune is used again to solve."""

    def __init__(
        self, problem: Problem, attributors: list[Attributor], scratch: Path, clock: Clock
    ) -> None:
        self.problem, self.attributors = problem, attributors
        self.scratch, self.clock = scratch, clock
        self.states: dict[int, State] = {}

    def choose(self, candidates: list[dict[str, Any]], truth: Path, n_tune: int) -> dict[str, Any]:
        """Return the damping with the highest LDS on the tuning samples, and the LDS of all."""
        store, several = self.problem.store, len(candidates) > 1
        lds = self._tune(truth, n_tune) if several else [0.0]
        best = candidates[lds.index(max(lds))]
        points = [(magnitude_of(c), found) for c, found in zip(candidates, lds, strict=True)]
        return {
            "function": store["function"],
            "in_store": store["count"],
            "arguments": best,
            "damping": damping_of(best),
            "curve": [{"damping": d, "lds": found} for d, found in points if several and d],
        }

    def _tune(self, truth: Path, n_tune: int) -> list[float]:
        sources, solved = [], []
        total = tuned(self.problem.count, self.attributors[0])
        found = self.problem.sources(self.attributors[0], tests=True)
        for source in track(islice(found, total), "tuning", total):
            state = self._prepared(self.attributors[0], source)
            sources.append(source.at_tests(slice(n_tune)))
            with self.clock.part("tune"):
                solved.append([a.solve(sources[-1], state) for a in self.attributors])
        outputs = np.load(truth / f"{self.problem.store['function']}.npy")[:, :, :n_tune]
        return lds_of_each(self.attributors, sources, solved, np.load(truth / "masks.npy"), outputs)

    def all(self, attributor: Attributor) -> None:
        """Solve at every checkpoint that is not done yet."""
        sources = self.problem.sources(attributor, tests=True)
        for source in track(sources, "solving", self.problem.count):
            file = self.scratch / f"{source.index:02d}.safetensors"
            if not file.exists():
                state = self._prepared(attributor, source)
                with self.clock.part("solve"):
                    solved = attributor.solve(source, state)
                save_state(file, solved)
            self.states.pop(source.index, None)

    def _prepared(self, attributor: Attributor, source: StoredSource) -> State:
        """Return what depends on the training data alone, whatever the damping."""
        if source.index not in self.states:
            with self.clock.part("prepare"):  # in one memory layout: another gives other last bits
                state = attributor.prepare(source)
                self.states[source.index] = {name: t.contiguous() for name, t in state.items()}
        return self.states[source.index]
