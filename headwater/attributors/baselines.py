"""Baselines: what a method must beat. They take no gradients and know nothing of training."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from headwater.attributors.feature_attributor import Describe, PairwiseAttributor
from headwater.attributors.features import FeatureReader
from headwater.batches import Batch, sample_tensors
from headwater.gradients.source import GradientSource
from headwater.labels import counted_positions, labels_of
from headwater.task import AttributionTask

__all__ = ["FeatureSimilarity", "LabelMatch", "LossOnly", "RandomScores"]


class RandomScores(PairwiseAttributor):
    """Score pairs at random: the level at which a method knows nothing.

    v(i, j) = u(x_i, x_j, seed), uniform in [0, 1), by a hash of the contents of both samples: the
    same numbers in any order and any batches, equal ones for equal samples. Padding does not count
    (attention_mask 0, else what follows the last label). Scores have the sign of `DirectedAttributor`,
    no unit. Self-influence: u(x_i, x_i, seed). Cost: one read of the data.
    """

    def __init__(self, task: AttributionTask, seed: int = 0) -> None:
        super().__init__(task)
        self.seed = seed

    def describer(self, source: GradientSource) -> Describe:
        """Keep {"key": 64 bits of the content of each sample}."""
        return lambda batch: {"key": _keys(batch, self.seed)}

    def value(self, train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> Tensor:
        """Return u, (b, m)."""
        return _uniform(train["key"][:, None], test["key"])

    def self_value(self, train: Mapping[str, Tensor]) -> Tensor:
        """Return u(x_i, x_i)."""
        return _uniform(train["key"], train["key"])


class LabelMatch(PairwiseAttributor):
    """Score a pair by whether the labels are the same.

    v(i, j) = 1 if y_i = y_j, else 0. Scores have the sign of `DirectedAttributor`, no unit.
    Self-influence: 1. Cost: one read of the data, whose batches are (inputs, labels).
    """

    def describer(self, source: GradientSource) -> Describe:
        """Keep {"label": y}."""
        return lambda batch: {"label": labels_of(batch)}

    def value(self, train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> Tensor:
        """Return 1[y_i = y_j], (b, m)."""
        return (train["label"][:, None] == test["label"]).to(torch.float64)

    def self_value(self, train: Mapping[str, Tensor]) -> Tensor:
        """Return 1."""
        return torch.ones_like(train["label"], dtype=torch.float64)


class FeatureSimilarity(PairwiseAttributor):
    """Score a pair by the cosine of the model's features, whatever the labels.

    v(i, j) = ⟨a_i, a_j⟩ / (‖a_i‖ ‖a_j‖), a the input of a Linear layer, by default of the one that
    is called last; 0 where a is zero.
    Scores have the sign of `DirectedAttributor`, no unit. Self-influence: 1 (0 where a is zero).
    Cost: one forward pass over the data and one product of features.

    Reference:
        Hanawa et al., Evaluation of Similarity-based Explanations, ICLR 2021.
    """

    def __init__(self, task: AttributionTask, layer: str | None = None) -> None:
        super().__init__(task)
        self.layer = layer

    def describer(self, source: GradientSource) -> Describe:
        """Keep {"feature": a / ‖a‖}, (n, d)."""
        read = FeatureReader(source.model, self.task.loss, self.layer)
        return lambda batch: {"feature": normalize(read(batch).inputs, dim=1)}

    def value(self, train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> Tensor:
        """Return the cosines, (b, m)."""
        return train["feature"] @ test["feature"].T

    def self_value(self, train: Mapping[str, Tensor]) -> Tensor:
        """Return 1, or 0."""
        return train["feature"].any(1).to(torch.float64)


class LossOnly(PairwiseAttributor):
    """Score a training sample by its own loss, the same for all test samples.

    v(i, j) = ℓ_i ≥ 0: hard samples matter more. Scores have the sign of `DirectedAttributor` and the
    unit of the loss. Self-influence: ℓ_i, a strong baseline for wrong labels. Cost: one forward pass.
    """

    def describer(self, source: GradientSource) -> Describe:
        """Keep {"loss": ℓ}, (n,)."""
        return lambda batch: {"loss": source.model.values(self.task.loss, batch)}

    def value(self, train: Mapping[str, Tensor], test: Mapping[str, Tensor]) -> Tensor:
        """Return ℓ_i in every column, (b, m)."""
        return train["loss"][:, None].repeat(1, len(test["loss"]))

    def self_value(self, train: Mapping[str, Tensor]) -> Tensor:
        """Return ℓ_i."""
        return train["loss"]


def _keys(batch: Batch, seed: int) -> Tensor:
    """Return 64 bits of sha256 over the seed and each sample, numbers rounded to float32, int64 (n,)."""
    columns, counted = [], counted_positions(batch)
    for tensor in sample_tensors(batch):
        kind = torch.float32 if tensor.is_floating_point() else torch.int64
        values = tensor.detach().to("cpu", kind)
        if counted is None or values.shape[:2] != counted.shape:
            columns.append(list(values.numpy()))
        else:
            columns.append(
                [row[kept].numpy() for row, kept in zip(values, counted.cpu(), strict=True)]
            )
    keys = []
    for sample in zip(*columns, strict=True):
        digest = hashlib.sha256(seed.to_bytes(8, "little", signed=True))
        for values in sample:
            digest.update(values.tobytes())
        keys.append(int.from_bytes(digest.digest()[:8], "little"))
    return torch.from_numpy(np.array(keys, dtype=np.uint64).view(np.int64))


def _uniform(rows: Tensor, columns: Tensor) -> Tensor:
    """Mix two keys to a number in [0, 1): the last steps of SplitMix64, modulo 2^64."""
    left, right = (keys.cpu().numpy().view(np.uint64) for keys in (rows, columns))
    word = left * np.uint64(0x9E3779B97F4A7C15) + right
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return torch.from_numpy((word >> np.uint64(11)).astype(np.float64) * 2.0**-53)
