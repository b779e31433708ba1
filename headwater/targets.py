"""Targets f of classifiers: one value per sample, computed from the logits of the model."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Target", "cross_entropy", "log_probability", "logit", "margin"]

# The model is Any: an nn.Module, or a function such as a partial functional_call.
Target: TypeAlias = Callable[[Any, Any], Tensor]


def cross_entropy(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the cross-entropy -log p_y of each sample.

    Args:
        model: A module that maps inputs (batch, ...) to logits (batch, n_classes).
        batch: Inputs (batch, ...) and int64 labels (batch,).

    Returns:
        Losses, shape (batch,).

    Raises:
        ValueError: If the logits or labels have another shape or type.
    """
    logits, labels = _logits_and_labels(model, batch)
    return F.cross_entropy(logits, labels, reduction="none")


def log_probability(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the log-probability log p_y of each sample's label.

    Args:
        model: A module that maps inputs (batch, ...) to logits (batch, n_classes).
        batch: Inputs (batch, ...) and int64 labels (batch,).

    Returns:
        Log-probabilities, shape (batch,).

    Raises:
        ValueError: If the logits or labels have another shape or type.
    """
    return -cross_entropy(model, batch)


def logit(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the logit z_y of each sample's label.

    Args:
        model: A module that maps inputs (batch, ...) to logits (batch, n_classes).
        batch: Inputs (batch, ...) and int64 labels (batch,).

    Returns:
        Logits of the labels, shape (batch,).

    Raises:
        ValueError: If the logits or labels have another shape or type.
    """
    logits, labels = _logits_and_labels(model, batch)
    return logits.gather(1, labels.unsqueeze(1)).squeeze(1)


def margin(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the margin log(p_y / (1 - p_y)) = z_y - log Σ_{c≠y} exp z_c of each sample.

    The right-hand side never forms p, so it stays finite where p rounds to 0 or 1.

    Args:
        model: A module that maps inputs (batch, ...) to logits (batch, n_classes).
        batch: Inputs (batch, ...) and int64 labels (batch,).

    Returns:
        Margins, shape (batch,).

    Raises:
        ValueError: If the logits or labels have another shape or type.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """
    logits, labels = _logits_and_labels(model, batch)
    classes = torch.arange(logits.shape[1], device=logits.device)
    is_label = classes == labels.unsqueeze(1)
    others = logits.masked_fill(is_label, -torch.inf)
    own = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    return own - others.logsumexp(dim=1)


def _logits_and_labels(model: Any, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    inputs, labels = batch
    logits = model(inputs)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"logits must have shape (batch, n_classes >= 2), got {tuple(logits.shape)}: "
            "make the model return one row of class scores per sample"
        )
    if labels.dtype != torch.int64 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"labels must be int64 of shape ({logits.shape[0]},), got {labels.dtype} of shape "
            f"{tuple(labels.shape)}: pass one class index per sample"
        )
    return logits, labels
