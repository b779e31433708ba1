"""Methods that take no gradients: they keep a few tensors of every sample."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from headwater.attributors.attributor import Attributor
from headwater.batches import Batch, batch_size, tensors_of, to_device
from headwater.checks import check_finite
from headwater.gradients.source import GradientSource
from headwater.progress import track
from headwater.solvers import State

__all__ = ["Describe", "FeatureAttributor", "described"]

Describe = Callable[[Batch], Mapping[str, Tensor]]
"""Returns what is kept of the samples of a batch: tensors whose first dimension is the sample."""


class FeatureAttributor(Attributor):
    """Keep a few tensors of every sample, such as features or labels, and take no gradient.

    `cache` reads the training loader once for all checkpoints, whatever its size, and nothing reads it
    later. A test loader beyond a quarter of the memory budget is read once per checkpoint.
    """

    @abstractmethod
    def describer(self, source: GradientSource) -> Describe:
        """Return what is called with one batch after the other, on the model's device."""

    def summary(self, source: GradientSource, samples: dict[str, Tensor]) -> State:
        """Return what is made of all that is kept of the training samples; default: just that."""
        return samples

    def prepare_all(self, sources: Sequence[GradientSource]) -> list[State]:
        """Describe the training samples at all checkpoints in one pass over them."""
        data, device = sources[0].batches, sources[0].device
        found = described([self.describer(source) for source in sources], data, device)
        return [self.summary(*pair) for pair in zip(sources, found, strict=True)]

    def prepare(self, source: GradientSource) -> State:
        """Describe the training samples at one checkpoint."""
        return self.prepare_all([source])[0]

    def tests(self, source: GradientSource) -> dict[str, Tensor]:
        """Return what is kept of the test samples."""
        return described([self.describer(source)], source.test_batches, source.device)[0]


def described(
    describers: Sequence[Describe], batches: Iterable[Batch], device: torch.device
) -> list[dict[str, Tensor]]:
    """Return what each describer keeps of all samples, in one pass over them.

    Raises:
        ValueError: if the data are not finite.
    """
    parts: list[list[Mapping[str, Tensor]]] = [[] for _ in describers]
    done = 0
    for batch in track(batches, "samples"):
        for tensor in tensors_of(batch):
            check_finite("the data", tensor, done)
        with torch.no_grad():
            here = to_device(batch, device)
            for kept, describe in zip(parts, describers, strict=True):
                kept.append(describe(here))
        done += batch_size(batch)
    return [{name: torch.cat([p[name] for p in kept]) for name in kept[0]} for kept in parts]
