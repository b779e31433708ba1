"""Stage solve: P applied to the test gradients of every checkpoint."""

from __future__ import annotations

from pathlib import Path

from headwater.progress import track
from stages.files import resumable
from stages.methods import MethodRow, damping_of, load_states, open_method, save_state
from stages.runner import log, run


def main(
    row: MethodRow,
    data: Path,
    tests: Path,
    models: Path,
    train: Path,
    test: Path,
    curvature: Path,
    tuned: Path,
    out: Path,
) -> None:
    """Solve for the test gradients."""
    damping = damping_of(row, tuned)
    attributor, sources = open_method(row, data, models, train, test, tests, damping)
    prepared = load_states(curvature, row.count)
    inputs = (data, tests, models, train, test, curvature, tuned)
    with resumable(out, row, *inputs) as scratch:
        for source in track(sources, "solving"):
            if (scratch / f"{source.index:02d}.safetensors").exists():
                continue
            state = prepared[source.index] if prepared else attributor.prepare(source)
            solved = attributor.solve(source, state)
            if "residual" in solved:
                log.info(
                    "checkpoint %d: %d of %d converged, residual at most %.2g",
                    source.index,
                    int(solved["converged"].sum()),
                    len(solved["converged"]),
                    float(solved["residual"].max()),
                )
            save_state(scratch, source.index, solved)


if __name__ == "__main__":
    paths = ("data", "tests", "models", "train", "test", "curvature", "tuned", "out")
    run("solve", MethodRow, main, *paths)
