"""Training samples with labels drawn from the model itself, for the true Fisher matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwater import targets
from headwater.batches import Batch, batch_size, to_device
from headwater.gradients import GradientCapture, Gradients
from headwater.task import BoundModel, SampleFunction

__all__ = ["check_cross_entropy", "sampled_gradients"]


def sampled_gradients(
    model: BoundModel, batches: Iterable[Batch], draws: int, seed: int
) -> Iterator[Gradients]:
    """Yield ∇(-log p_y) with y ~ softmax(model(inputs)), batch by batch, `draws` times each.

    The label of sample i in draw d follows from the i-th number of stream d alone: it depends
    neither on how the data is batched nor on any global generator.

    Args:
        model: the model at one checkpoint.
        batches: ``(inputs, labels)``; the labels are not looked at.
        draws: labels drawn a sample.
        seed: of the streams.
    """
    capture = GradientCapture(model, targets.cross_entropy)
    streams = [
        np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, d])))
        for d in range(draws)
    ]
    done = 0
    for batch in batches:
        inputs, n = batch[0], batch_size(batch)
        for stream in streams:
            uniform = torch.from_numpy(stream.random(n))
            with torch.no_grad():
                labels = model.values(_drawn, to_device((inputs, uniform), model.device))
            yield capture((inputs, labels), first_row=done)
        done += n


def _drawn(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the first class whose cumulated probability exceeds u, (n,)."""
    inputs, uniform = batch
    cumulated = model(inputs).to(torch.float64).softmax(1).cumsum(1)
    # The last sum is 1 up to rounding: without the clamp a u beyond it would name no class.
    return (cumulated <= uniform[:, None]).sum(1).clamp_max(cumulated.shape[1] - 1)


def check_cross_entropy(model: BoundModel, loss: SampleFunction, batch: Batch) -> None:
    """Check on one batch that the loss is the cross-entropy of (inputs, labels).

    Raises:
        ValueError: if it is not, so that there is no softmax to draw other labels from.
    """
    batch = to_device(batch, model.device)
    try:
        with torch.no_grad():
            wanted = model.values(targets.cross_entropy, batch)
            found = model.values(loss, batch)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise ValueError(_refusal(f"got a batch or model without them ({error})")) from error
    if not torch.allclose(found, wanted, rtol=1e-3, atol=1e-5):
        worst = int((found - wanted).abs().argmax())
        values = f"{float(found[worst]):.4g} instead of {float(wanted[worst]):.4g}"
        raise ValueError(_refusal(f"got {values} at sample {worst}"))


def _refusal(got: str) -> str:
    return (
        "labels='sampled' needs batches (inputs, int64 labels) whose loss is the cross-entropy of "
        f"the model's logits, {got}; use labels='empirical' for other losses"
    )
