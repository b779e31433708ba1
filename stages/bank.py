"""What retrained models say of the test samples, by seed and subset: whoever needs one again takes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.recipes import Checkpoint
from headwater.benchmark.retraining import Job, evaluate_targets, train_many
from headwater.benchmark.retraining.evaluation import predicts_labels
from headwater.benchmark.settings import get_setting
from headwater.progress import track
from stages.files import save_array
from stages.manifest import Model
from stages.params import TARGETS

__all__ = ["COLUMNS", "Bank"]

COLUMNS = (*TARGETS, "right")
"""What is kept of a model, (n_test,) each; `right`: 1 where its most probable class is the label."""


class Bank:
    """Outputs of models of one setting, one file each, trained where they are missing.

    Args:
        folder: where the files are; a run that was killed goes on with them, and so does one that asks
            for other models. Everything else that they depend on must be in its name.
        setting: a name or an import path.
        train: inputs and labels of the training samples.
        test: those of the test samples.
    """

    def __init__(
        self, folder: Path, setting: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
    ) -> None:
        self.folder, self.setting, self.train, self.test = folder, setting, train, test

    def outputs(self, models: Sequence[Model], why: str) -> NDArray[np.float32]:
        """Return what models say of the test samples, (n_models, COLUMNS, n_test)."""
        wanted = {model.key: model for model in models}
        missing = [model for key, model in wanted.items() if not self._file(key).exists()]
        kept = get_setting(self.setting)
        targets = {**{name: kept.targets[name] for name in TARGETS}, "right": predicts_labels}
        kept = dataclasses.replace(kept, targets=targets)
        jobs = [Job(i, model.seed, model.subset) for i, model in enumerate(missing)]
        for job, (checkpoint,) in track(self._trained(jobs), why, len(jobs)):
            found = evaluate_targets(kept, checkpoint.state, *self.test)
            values = np.stack([found[name].float().cpu().numpy() for name in COLUMNS])
            save_array(self._file(missing[job.index].key), values)
        return np.stack([np.load(self._file(model.key)) for model in models])

    def _trained(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, list[Checkpoint]]]:
        return train_many(self.setting, *self.train, jobs) if jobs else iter(())

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.npy"
