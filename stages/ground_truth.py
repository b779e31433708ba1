"""Stage ground_truth: what the retrained models say of the test samples."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import load_file

from headwater.retraining import evaluate_many
from headwater.settings import get_setting
from stages.files import atomic, save_array
from stages.problem import load_split
from stages.retrain import RetrainRow
from stages.runner import run

TARGETS = ("loss", "margin")


def main(row: RetrainRow, models: Path, data: Path, out: Path) -> None:
    """Evaluate retrained models: TARGET.npy, beside the masks or the removed samples.

    Subsets: (n_subsets, n_repeats, n_test). Leave-one-out: (1 + r, n_test), the full model first.
    """
    stacked = load_file(models / "models.safetensors")
    values = evaluate_many(get_setting(row.setting), stacked, *load_split(data))
    design = "masks.npy" if row.kind == "subsets" else "removed.npy"
    with atomic(out) as partial:
        partial.mkdir()
        shutil.copyfile(models / design, partial / design)
        for target in TARGETS:
            found = values[target].numpy()
            if row.kind == "subsets":
                found = found.reshape(row.count, row.repeats, -1)
            save_array(partial / f"{target}.npy", found)


if __name__ == "__main__":
    run("ground_truth", RetrainRow, main, "models", "data", "out")
