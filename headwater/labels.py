"""The labels of a batch, and the logits that belong to them.

A batch is ``(inputs..., labels)``, or a mapping with "labels" beside the keyword arguments of the
model. A label is int64: one per sample, or one per position, where -100 means none.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from headwater.batches import Batch, batch_size
from headwater.model_outputs import logits_of

IGNORED = -100
"""The label of a position without one, as in PyTorch and transformers."""


def labels_of(batch: Batch) -> Tensor:
    """Return the class y_i of each sample of a batch, (n,); ValueError if there is not one for each."""
    last = _entries(batch).get("labels")
    if not isinstance(last, Tensor) or last.dtype != torch.int64 or last.ndim != 1:
        got = type(batch).__name__ if last is None else "one that ends in a " + _kind(last)
        raise ValueError(
            f"batches must be (inputs, labels) with one int64 label per sample, got {got}; "
            "make the loader yield the labels last, or a mapping with 'labels'"
        )
    batch_size(batch)
    return last


def with_labels(batch: Batch, labels: Tensor) -> Batch:
    """Return a copy of the batch with other labels: in its last entry, or under "labels"."""
    if isinstance(batch, Mapping):
        changed: Any = copy.copy(batch)
        changed["labels"] = labels
        return changed
    if hasattr(batch, "_fields"):
        return type(batch)(*batch[:-1], labels)
    return type(batch)([*batch[:-1], labels])


def position_labels(batch: Batch, causal: bool = False) -> Tensor:
    """Return the label that the logits at each position are held against.

    At position t it is the label y_t. Where the model is causal it is y_{t+1}, the next token; there is
    none at the last position, nor where t or t+1 is padding (attention_mask 0). A mapping without
    "labels" has its "input_ids" as labels then. The result is int64 in the shape of the labels, -100
    where there is none; ValueError if a batch has no int64 labels, or too few positions for a next one.
    """
    entries = _entries(batch)
    labels = entries.get("labels")
    if labels is None and causal:
        labels = entries.get("input_ids")
    if labels is None:
        got = type(batch).__name__ + (f" with {', '.join(map(str, entries))}" if entries else "")
        raise ValueError(
            f"a batch must be (inputs, labels) or a mapping with 'labels', got {got}; add the labels"
        )
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64, got {_kind(labels)}: pass class indices")
    if not causal:
        return labels
    if labels.ndim != 2 or labels.shape[1] < 2:
        raise ValueError(
            "the labels of a causal model must have shape (batch, positions >= 2), got "
            f"{tuple(labels.shape)}: pass one token per position"
        )
    following = pad(labels[:, 1:], (0, 1), value=IGNORED)
    mask = entries.get("attention_mask")
    if mask is None or mask.ndim != 2:  # one of pairs of positions says nothing of padding
        return following
    if mask.shape != labels.shape:
        raise ValueError(
            "attention_mask must have the shape of the labels of a causal model, "
            f"{tuple(labels.shape)}, got {tuple(mask.shape)}: set labels to -100 where there is none"
        )
    real = mask.bool() & pad(mask[:, 1:], (0, 1)).bool()
    return following.masked_fill(~real, IGNORED)


def check_own_tokens(batch: Batch) -> None:
    """Refuse labels that are the tokens themselves: a model would be asked for what it was given."""
    entries = _entries(batch)
    tokens, labels = entries.get("input_ids"), entries.get("labels")
    if not (isinstance(tokens, Tensor) and isinstance(labels, Tensor) and labels.ndim == 2):
        return
    known = labels != IGNORED
    if tokens.shape != labels.shape or not 2 * int(known.sum()) > labels.numel() > len(labels):
        return
    if torch.equal(tokens[known], labels[known]):
        raise ValueError(
            "labels must be what the model is to predict at each position, got its own input_ids; a "
            "model that predicts the next token needs targets.causal(...), such as "
            "loss=targets.causal(targets.cross_entropy)"
        )


def counted_positions(batch: Batch) -> Tensor | None:
    """Return which positions of each sample are no padding, as far as the batch says so, bool (n, T).

    They are those where attention_mask is not 0, else those up to the last label; None where a batch
    has neither a mask (n, T) nor labels (n, T).

    Example:
        >>> counted_positions((torch.tensor([[5, 6, 0]]), torch.tensor([[-100, 7, -100]]))).tolist()
        [[True, True, False]]
    """
    entries = _entries(batch)
    mask, labels = entries.get("attention_mask"), entries.get("labels")
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return mask.bool()
    if isinstance(labels, Tensor) and labels.ndim == 2 and labels.dtype == torch.int64:
        return (labels != IGNORED).flip(1).cummax(1).values.flip(1)
    return None


def labelled_logits(model: Any, batch: Batch, causal: bool = False) -> tuple[Tensor, Tensor]:
    """Call the model on a batch and return its logits beside the labels they are held against.

    They are the logits (n, T, C), in float32 at least, and the `position_labels` (n, T), -100 where there
    is none. T = 1 where there is one label per sample. ValueError for other shapes or types.
    """
    labels = position_labels(batch, causal)
    if isinstance(batch, Mapping):
        output = model(**{name: t for name, t in batch.items() if name != "labels"})
    else:
        output = model(*batch[:-1])
    logits = logits_of(output)
    if logits.ndim < 2 or logits.shape[-1] < 2:
        raise ValueError(
            "logits must have shape (batch, n_classes >= 2) or (batch, positions, n_classes >= 2), got "
            f"{tuple(logits.shape)}: make the model return one row of class scores per label"
        )
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must be int64 of shape {tuple(logits.shape[:-1])}, got shape "
            f"{tuple(labels.shape)}: pass one class index per row of logits"
        )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    shape = len(labels), labels.shape[1:].numel()
    return logits.reshape(*shape, logits.shape[-1]), labels.reshape(shape)


def _entries(batch: Batch) -> dict[str, Any]:
    if isinstance(batch, Mapping):
        return dict(batch)
    known = isinstance(batch, (tuple, list)) and len(batch) > 1
    return {"labels": batch[-1]} if known else {}


def _kind(last: object) -> str:
    if not isinstance(last, Tensor):
        return type(last).__name__
    return f"{last.dtype} tensor of shape {tuple(last.shape)}"
