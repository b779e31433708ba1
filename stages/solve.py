"""Stage solve: P applied to the test gradients of every checkpoint."""

from __future__ import annotations

from pathlib import Path

from headwater.progress import track
from stages.files import resumable
from stages.methods import MethodRow, load_states, open_method, save_state
from stages.runner import log, run


def main(
    row: MethodRow, data: Path, models: Path, train: Path, test: Path, curvature: Path, out: Path
) -> None:
    """Solve for the test gradients."""
    attributor, sources = open_method(row, data, models, train, test)
    prepared = load_states(curvature, row.count)
    with resumable(out, row, data, models, train, test, curvature) as scratch:
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
    run("solve", MethodRow, main, "data", "models", "train", "test", "curvature", "out")
