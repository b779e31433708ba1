"""Stage truth: what the retrained models say of the test samples."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from headwater.benchmark.retraining import evaluate_targets
from headwater.benchmark.settings import get_setting
from headwater.progress import track
from stages.device import resolve_device
from stages.files import atomic, load_json, save_array, save_json
from stages.params import TARGETS, Device
from stages.problem import file_hash, load_split, load_state
from stages.row import At, Row


class TruthRow(Row):
    """Where the models are evaluated."""

    device: Annotated[Device, At("settings.{setting}.device")]


def main(row: TruthRow, setting: str, *, models: Path, data: Path, out: Path) -> None:
    """Evaluate retrained models: KIND/TARGET.npy, beside the masks or the removed samples.

    Subsets: (n_subsets, n_repeats, n_test). Leave-one-out: (1 + r, n_test), the full model first;
    only an empty manifest where there are none.
    """
    device = resolve_device(row.device)
    samples = load_split(data, device)
    for kind, design in (("subsets", "masks.npy"), ("leave-one-out", "removed.npy")):
        with atomic(out / kind) as partial:
            partial.mkdir()
            manifest = load_json(models / kind / "manifest.json")
            committed, test = manifest.pop("committed", None), file_hash(data)
            if manifest.get("test", test) != test:
                raise ValueError(
                    f"committed outputs must be of the test samples {data}, got others: remove "
                    "`committed` from params.yaml to retrain"
                )
            save_json(partial / "manifest.json", {**manifest, "test": test})
            if not manifest["models"]:
                continue
            for name in (design, *(f"{t}.npy" for t in TARGETS if committed)):
                shutil.copyfile(models / kind / name, partial / name)
            if committed:
                continue
            kept = get_setting(manifest["setting"])
            files = sorted((models / kind).glob("model-*.safetensors"))
            values = [
                evaluate_targets(kept, load_state(file, device), *samples)
                for file in track(files, f"evaluating ({kind})", len(files))
            ]
            n_subsets = len(np.load(models / kind / design))
            for target in TARGETS:
                found = torch.stack([of[target] for of in values]).cpu().numpy()
                if kind == "subsets":
                    found = found.reshape(n_subsets, -1, found.shape[1])
                save_array(partial / f"{target}.npy", found)
