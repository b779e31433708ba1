"""Stage curvature: what a method computes of the training data alone, whatever the damping."""

from __future__ import annotations

from pathlib import Path

from headwater.progress import track
from stages.files import atomic
from stages.methods import MethodRow, open_method, save_state
from stages.runner import run


def main(row: MethodRow, data: Path, models: Path, train: Path, out: Path) -> None:
    """Prepare the curvature of every checkpoint."""
    attributor, sources = open_method(row, data, models, train)
    with atomic(out) as partial:
        for source in track(sources, "curvature"):
            save_state(partial, source.index, attributor.prepare(source))


if __name__ == "__main__":
    run("curvature", MethodRow, main, "data", "models", "train", "out")
