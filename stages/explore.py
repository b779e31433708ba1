"""Stage explore: the influence explorer of a setting, one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from headwater.benchmark.appearance import appearance, class_names
from headwater.benchmark.settings import get_setting
from headwater.benchmark.settings.setting import Setting
from headwater.explorer import Evidence, Split, Suspects, explore
from headwater.scores import Scores
from stages.files import atomic, load_json
from stages.problem import BATCH, checkpoint_files
from stages.row import At, Row

METHODS = 8
"""How many methods a page has: those with the highest LDS."""


class ExploreRow(Row):
    """What is explored."""

    setting: Annotated[str, At("settings.{setting}.setting")]


def main(
    row: ExploreRow,
    setting: str,
    *,
    data: Path,
    models: Path,
    scores: Path,
    evaluation: Path,
    out: Path,
) -> None:
    """Write the explorer of the best methods, with what they are worth."""
    known, record = get_setting(row.setting), load_json(evaluation)
    train, test = (
        load_file(data / "clean" / f"{split}.safetensors") for split in ("train", "test")
    )
    noisy = load_file(data / "noisy" / "train.safetensors")
    names = best_methods(record["methods"])
    with atomic(out) as partial:
        explore(
            [_scores(setting, name, scores, record) for name in names],
            _split(known, row.setting, train, models),
            _split(known, row.setting, test, models),
            partial,
            title=setting,
            classes=class_names(row.setting, train["labels"]),
            evidence={name: _evidence(record, name) for name in names},
            suspects=_suspects(names, scores, noisy) if train["labels"].ndim == 1 else None,
        )


def best_methods(methods: Mapping[str, Any]) -> list[str]:
    """Return the methods with the highest LDS, the best first."""
    found = {name: results["lds"]["value"] for name, results in methods.items() if "lds" in results}
    if not found:
        raise ValueError("the explorer needs scores of one method, got none: see the leaderboard")
    return sorted(found, key=lambda name: (-found[name], name))[:METHODS]


def _scores(setting: str, name: str, scores: Path, record: Mapping[str, Any]) -> Scores:
    values = np.load(scores / name / "scores.npy", mmap_mode="r")
    return Scores(values, name, record["methods"][name]["function"], setting)


def _split(known: Setting, name: str, samples: Mapping[str, Tensor], models: Path) -> Split:
    """Return samples with what the first model says of them."""
    inputs, labels = samples["inputs"], samples["labels"]
    model = known.make_model()
    model.load_state_dict(load_file(checkpoint_files(models, "ensemble", 1)[0]))
    model.eval()
    predictions: list[int] = []
    losses: list[float] = []
    single = labels.ndim == 1
    with torch.no_grad():
        for batch in zip(inputs.split(BATCH), labels.split(BATCH), strict=True):
            losses += known.loss(model, batch).tolist()
            if single:
                predictions += model(batch[0]).argmax(1).tolist()
    kind = appearance(name, inputs)
    return Split(kind, labels, predictions, losses) if single else Split(kind, losses=losses)


def _evidence(record: Mapping[str, Any], name: str) -> Evidence:
    found = record["methods"][name]
    return Evidence(
        found["lds"],
        record["noise_ceiling"][found["function"]],
        found["checkpoints"],
        found.get("removal", {}).get("curve", ()),
        record.get("removal", {}).get("curve", ()) if "removal" in found else (),
    )


def _suspects(names: list[str], scores: Path, noisy: Mapping[str, Tensor]) -> Suspects:
    """Return self-influence on the problem with flipped labels, whose samples are the first ones."""
    return Suspects(
        {name: np.load(scores / name / "self_influence.npy") for name in names},
        labels=noisy["labels"],
        flipped=noisy["flipped"],
    )
