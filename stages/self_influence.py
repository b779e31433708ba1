"""Stage self_influence: how much each training sample lowers its own loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.files import save_array
from stages.methods import MethodRow, damping_of, load_states, open_method
from stages.runner import run


def main(
    row: MethodRow, data: Path, models: Path, train: Path, curvature: Path, tuned: Path, out: Path
) -> None:
    """Write the self-influence (n_train,)."""
    damping = damping_of(row, tuned)
    attributor, sources = open_method(row, data, models, train, damping=damping)
    states = load_states(curvature, row.count)
    if states is None:
        states = [attributor.prepare(source) for source in sources]
    scores = attributor.self_scores(sources, states)
    save_array(out, scores.numpy().astype(np.float32))


if __name__ == "__main__":
    run("self_influence", MethodRow, main, "data", "models", "train", "curvature", "tuned", "out")
