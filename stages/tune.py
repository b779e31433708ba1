"""Stage tune: choose the damping of one method by its LDS on the tuning samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from headwater.attributors import Attributor
from headwater.attributors.source import StoredSource
from headwater.metrics import linear_datamodeling_score
from headwater.progress import track
from headwater.solvers import State
from stages.files import save_json
from stages.methods import MethodRow, load_states, open_method
from stages.runner import run


def main(
    row: MethodRow,
    data: Path,
    tests: Path,
    models: Path,
    train: Path,
    test: Path,
    curvature: Path,
    truth: Path,
    out: Path,
) -> None:
    """Write the damping with the highest LDS on the tuning samples, and the LDS of all."""
    opened = [open_method(row, data, models, train, test, tests, d) for d in row.dampings]
    sources = [source.first_tests(row.n_tune) for source in opened[0][1]]
    prepared = load_states(curvature, row.count)
    solved: list[list[State]] = [[] for _ in opened]
    for source in track(sources, "tuning"):
        for states, solution in zip(
            solved, _solve([a for a, _ in opened], source, prepared), strict=True
        ):
            states.append(solution)
    masks = np.load(truth / "masks.npy")
    outputs = np.load(truth / f"{row.function}.npy")[:, :, : row.n_tune]
    scores = np.empty((masks.shape[1], row.n_tune), np.float32)
    curve = []
    for damping, (attributor, _), states in zip(row.dampings, opened, solved, strict=True):
        attributor.scores_into(scores, sources, states)
        lds = linear_datamodeling_score(scores, masks, outputs, replicates=0).value
        curve.append({"damping": damping, "lds": round(lds, 4)})
    best = max(curve, key=lambda point: point["lds"])
    save_json(out, {"damping": best["damping"], "curve": curve})


def _solve(
    attributors: Sequence[Attributor], source: StoredSource, prepared: list[State] | None
) -> Iterator[State]:
    """Yield the solution of one checkpoint for each damping, from one preparation."""
    state = prepared[source.index] if prepared else attributors[0].prepare(source)
    for attributor in attributors:
        yield attributor.solve(source, state)


if __name__ == "__main__":
    paths = ("data", "tests", "models", "train", "test", "curvature", "truth", "out")
    run("tune", MethodRow, main, *paths)
