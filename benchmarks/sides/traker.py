"""traker's side: TRAK on the CPU, where it projects by blocks of a Gaussian matrix."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from trak import TRAKer

from benchmarks.sides import hyperparameters as choice
from benchmarks.sides.inputs import Inputs, State

__all__ = ["CALLS", "trak_scores"]


def trak_scores(
    model: nn.Module,
    state: State,
    train: DataLoader[Any],
    test: DataLoader[Any],
    folder: str,
    **options: Any,
) -> Tensor:
    """Return its scores (n_train, n_test), up to its own scale; its files go into a new folder."""
    n, m = len(train.dataset), len(test.dataset)  # type: ignore[arg-type]
    traker = TRAKer(
        model, "image_classification", n, save_dir=folder, device="cpu",
        use_half_precision=False, logging_level=logging.ERROR, **options,
    )  # fmt: skip
    traker.load_checkpoint(state, model_id=0)
    for batch in train:
        traker.featurize(batch, num_samples=len(batch[0]))
    traker.finalize_features()
    traker.start_scoring_checkpoint("test", state, model_id=0, num_targets=m)
    for batch in test:
        traker.score(batch, num_samples=len(batch[0]))
    return torch.from_numpy(traker.finalize_scores("test").copy())


def _trak(dimension: int) -> Callable[[Inputs], Callable[[], Tensor]]:
    def prepare(inputs: Inputs) -> Callable[[], Tensor]:
        folder = tempfile.mkdtemp(dir=inputs.folder)
        # One batch: its projection is drawn anew for every batch.
        train, test = inputs.train_at_once, inputs.test

        def call() -> Tensor:
            # Its projection is not divided by √k.
            options = {"proj_dim": dimension, "lambda_reg": dimension * choice.TRAK_DAMPING}
            return trak_scores(inputs.model(), inputs.state, train, test, folder, **options)

        return call

    return prepare


CALLS: dict[str, Callable[[Inputs], Callable[[], Tensor]]] = {
    "trak-512": _trak(512),
    "trak-2048": _trak(2048),
}
