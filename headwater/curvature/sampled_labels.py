"""Training samples with labels drawn from the model itself, for the true Fisher matrix."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from headwater import targets
from headwater.batches import Batch, batch_size, to_device
from headwater.checks import agree
from headwater.hashing import uniform
from headwater.labels import IGNORED, labelled_logits, position_labels, with_labels
from headwater.task import BoundModel, SampleFunction

CAUSAL = targets.causal(targets.cross_entropy)
LOSSES: tuple[SampleFunction, ...] = (targets.cross_entropy, CAUSAL)
"""The losses that are -log p of a softmax, from which labels can be drawn."""

WORKSPACE = 2**24
"""Probabilities that are held at a time (128 MiB in float64, and as much for their sums)."""


def sampled_batches(
    model: BoundModel,
    batch: Batch,
    draws: int,
    seed: int,
    first_row: int = 0,
    loss: SampleFunction = targets.cross_entropy,
) -> list[Batch]:
    """Return a batch `draws` times, each label y_t drawn from softmax(z_t), the inputs as they are.

    A number u follows from the seed, the draw, the sample and the rank of the position among those of
    the sample that have a label: it depends neither on how the data is batched or padded, nor on the
    device or any global generator. The label is the first class whose cumulated probability exceeds u.
    Of the given labels only where there are any is read; the drawn ones are -100 elsewhere. There are
    `first_row` samples before this batch; the loss is what `check_cross_entropy` returned.

    Reference:
        Kunstner, Balles and Hennig, Limitations of the Empirical Fisher Approximation, NeurIPS 2019.
    """
    batch, causal = to_device(batch, model.device), loss == CAUSAL
    logits, labels = bound_logits(model, batch, causal)
    shape, known = position_labels(batch, causal).shape, labels != IGNORED
    samples = torch.arange(first_row, first_row + len(labels), device=labels.device)
    found = []
    for draw in range(draws):
        u = uniform([seed, draw], samples[:, None], known.cumsum(1) - 1)
        drawn = torch.full_like(labels, IGNORED)
        drawn[known] = draw_classes(logits[known], u[known])
        if causal:  # what position t predicts is the label of t+1
            drawn = pad(drawn[:, :-1], (1, 0), value=IGNORED)
        found.append(with_labels(batch, drawn.view(shape)))
    return found


def draw_classes(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return the first class of logits (r, C) whose cumulated probability exceeds u (r,), int64 (r,)."""
    rows = max(1, WORKSPACE // logits.shape[1])
    drawn = [torch.empty(0, dtype=torch.int64, device=logits.device)]
    for z, u in zip(logits.split(rows), uniform.split(rows), strict=True):
        cumulated = z.to(torch.float64).softmax(1).cumsum(1)
        # The last sum is 1 up to rounding: a u beyond it takes the last class that has a probability.
        cumulated /= cumulated[:, -1:].clone()
        drawn.append((cumulated <= u[:, None]).sum(1))
    return torch.cat(drawn)


def check_cross_entropy(model: BoundModel, loss: SampleFunction, batch: Batch) -> SampleFunction:
    """Return which cross-entropy of the model's logits the loss is, by its values on one batch.

    ValueError if it is none of `LOSSES`: there is no softmax to draw other labels from.
    """
    batch = to_device(batch, model.device)
    cause, unlike = None, ""
    for wanted in LOSSES:
        try:
            with torch.no_grad():
                values = model.values(wanted, batch)
                found = model.values(loss, batch)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            cause = cause or error
            continue
        if agree(found, values, rtol=1e-3, atol=1e-5):
            return wanted
        i = int((found - values).abs().argmax())
        unlike = unlike or f"{float(found[i]):.4g} instead of {float(values[i]):.4g} at sample {i}"
    raise ValueError(
        "labels='sampled' needs batches with int64 labels whose loss is the cross-entropy of the "
        "model's logits, headwater.targets.cross_entropy or causal(cross_entropy), got "
        f"{unlike or f'a batch or model without them ({cause})'}; "
        "use labels='empirical' for other losses"
    ) from (None if unlike else cause)


def bound_logits(model: BoundModel, batch: Batch, causal: bool = False) -> tuple[Tensor, Tensor]:
    """Return what `labelled_logits` does at a checkpoint, without gradients: (n, T, C) and (n, T)."""
    found: list[tuple[Tensor, Tensor]] = []

    def keep(module: Any, batch: Batch) -> Tensor:
        found.append(labelled_logits(module, batch, causal))
        return torch.zeros(batch_size(batch))

    with torch.no_grad():
        model.values(keep, batch)
    return found[0]
