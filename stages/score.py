"""Stage score: the scores of a method, and the self-influence of samples with flipped labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np

from headwater.attributors.attributor import Attributor
from headwater.attributors.scoring import scores_into, self_scores
from stages.contract import Clock
from stages.device import resolve_device
from stages.files import load_json, resumable, save_array, save_json
from stages.methods import Problem
from stages.params import Device, Method
from stages.problem import load_state
from stages.row import At, Row


class ScoreRow(Row):
    """A method."""

    method: Annotated[Method, At("methods.{key}")]
    device: Annotated[Device, At("settings.{setting}.device")]


def main(
    row: ScoreRow,
    setting: str,
    key: str,
    *,
    data: Path,
    models: Path,
    gradients: Path,
    noisy: Path,
    solved: Path,
    out: Path,
    cost: Path,
) -> None:
    """Write scores.npy (n_train, n_test) and self_influence.npy (n_noisy,), or why there are none."""
    clock, choice = Clock(), load_json(solved / "choice.json")
    with resumable(out, row, data, models, gradients, noisy, solved) as scratch:
        save_json(scratch / "choice.json", choice)
        if "left_out" not in choice:
            device = resolve_device(row.device)
            works = {"clean": (gradients, score), "noisy": (noisy, self_influence)}
            for problem, (store, work) in works.items():
                found = Problem(data / problem, models / problem, store, row.method.count, device)
                attributor = found.attributor(row.method, choice["arguments"], f"methods.{key}")
                with clock.part(work.__name__):
                    work(attributor, found, solved, scratch)
    clock.save(cost)


def score(attributor: Attributor, problem: Problem, solved: Path, scratch: Path) -> None:
    """Write the scores, a block of training samples at a time."""
    sources = list(problem.sources(attributor, tests=True))
    states = (load_state(solved / f"{s.index:02d}.safetensors", problem.device) for s in sources)
    shape = (problem.store["n"], len(problem.split("test")[1]))
    scores = np.lib.format.open_memmap(scratch / "scores.npy", "w+", np.float32, shape)
    scores_into(attributor, scores, sources, states)
    scores.flush()


def self_influence(attributor: Attributor, problem: Problem, _: Path, scratch: Path) -> None:
    """Write how much each sample with a label that may be flipped lowers its own loss."""
    sources = list(problem.sources(attributor, tests=False))
    states = [attributor.prepare(source) for source in sources]
    found = self_scores(attributor, sources, states).numpy()
    save_array(scratch / "self_influence.npy", found.astype(np.float32))
