"""kronfluence's side: all Linear and Conv2d layers; EK-FAC is from the empirical Fisher matrix."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import Tensor, nn

from benchmarks.sides import hyperparameters as choice
from benchmarks.sides.inputs import Inputs

__all__ = ["CALLS", "CrossEntropyTask", "factored_scores"]


class CrossEntropyTask(Task):
    """The cross-entropy summed over a batch and its positions, on both sides."""

    def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
        """Return the loss at the true labels: only the empirical Fisher matrix is asked for."""
        inputs, labels = batch
        logits = model(inputs).flatten(0, -2)
        return nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum")

    def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
        """Return the explained value, the loss as well."""
        return self.compute_train_loss(batch, model)


def factored_scores(
    model: nn.Module,
    train_set: Any,
    test_set: Any,
    folder: str,
    damping: float,
    dtype: torch.dtype = torch.float32,
    strategy: str = "ekfac",
) -> Tensor:
    """Return its scores, (n_train, n_test); its files go into the folder."""
    prepared = prepare_model(model, CrossEntropyTask())
    analyzer = Analyzer(
        "benchmark", prepared, CrossEntropyTask(), cpu=True, disable_tqdm=True,
        log_level=logging.ERROR, output_dir=folder,
    )  # fmt: skip
    factors = FactorArguments(
        strategy=strategy,
        use_empirical_fisher=True,
        activation_covariance_dtype=dtype,
        gradient_covariance_dtype=dtype,
        per_sample_gradient_dtype=dtype,
        lambda_dtype=dtype,
    )
    scores = ScoreArguments(
        damping_factor=damping,
        precondition_dtype=dtype,
        per_sample_gradient_dtype=dtype,
        score_dtype=dtype,
    )
    analyzer.fit_all_factors(
        "factors", train_set, per_device_batch_size=choice.BATCH, factor_args=factors,
        overwrite_output_dir=True,
    )  # fmt: skip
    analyzer.compute_pairwise_scores(
        "scores", "factors", test_set, train_set, per_device_query_batch_size=choice.BATCH,
        per_device_train_batch_size=choice.BATCH, score_args=scores, overwrite_output_dir=True,
    )  # fmt: skip
    found = analyzer.load_pairwise_scores("scores")  # what it wrote
    return found["all_modules"].T  # it returns (n_test, n_train)


def _factored(strategy: str) -> Callable[[Inputs], Callable[[], Tensor]]:
    def prepare(inputs: Inputs) -> Callable[[], Tensor]:
        folder = tempfile.mkdtemp(dir=inputs.folder)
        return lambda: factored_scores(
            inputs.model(), inputs.train_set, inputs.test_set, folder, choice.FISHER_DAMPING,
            strategy=strategy,
        )  # fmt: skip

    return prepare


CALLS: dict[str, Callable[[Inputs], Callable[[], Tensor]]] = {
    "grad-dot": _factored("identity"),
    "ek-fac": _factored("ekfac"),
}
