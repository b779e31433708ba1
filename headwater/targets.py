"""Targets f(model, batch) -> (batch,) of classifiers and language models, from the model's logits.

A batch is ``(inputs, labels)``, or a mapping with "labels" beside the model's keyword arguments. The
model returns its logits, or an output that holds them. Labels are int64: (n,) for logits (n, C), or one
per position, (n, T) for logits (n, T, C), where -100 means no label (masked language models). Other
shapes and types raise ValueError. A sequence is one event, p = Π_t p_t over the positions with a label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.batches import Batch
from headwater.labels import IGNORED, check_own_tokens, labelled_logits, position_labels

# The model is Any: an nn.Module, or a function such as a partial functional_call.
Target: TypeAlias = Callable[[Any, Any], Tensor]

CERTAIN = 1e30
"""The margin of a sample without any label, whose p is 1."""


def cross_entropy(model: Any, batch: Batch) -> Tensor:
    """Return the cross-entropy -log p_y of each sample, summed over its positions."""
    return _of_samples(cross_entropy, model, batch)


def log_probability(model: Any, batch: Batch) -> Tensor:
    """Return the log-probability log p_y of each sample's label or labels."""
    return _of_samples(log_probability, model, batch)


def logit(model: Any, batch: Batch) -> Tensor:
    """Return the logit z_y of each sample's label, summed over its positions."""
    return _of_samples(logit, model, batch)


def margin(model: Any, batch: Batch) -> Tensor:
    """Return the margin m = log(p / (1 - p)) of each sample.

    With one label it is z_y - log Σ_{c≠y} exp z_c, which never forms p, so it stays finite where p rounds
    to 0 or 1. A sequence is one event with p = Π_t p_t: m = s - log(1 - exp s), s = Σ_t log p_t, which is
    -log(exp(Σ_t log(1 + exp(-m_t))) - 1) of the margins m_t at its positions. The cross-entropy is
    log(1 + exp(-m)) for both. Without any label the margin is 1e30.

    Reference:
        Park et al., TRAK: Attributing Model Behavior at Scale, ICML 2023.
    """
    return _of_samples(margin, model, batch)


@dataclass(frozen=True)
class CausalTarget:
    """A target of models that predict the next token, see `causal`."""

    target: Target

    def __post_init__(self) -> None:
        _check_known("causal", self.target)

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Return the value of each sample, (batch,)."""
        return _of_samples(self.target, model, batch, causal=True)


@dataclass(frozen=True)
class TokenTarget:
    """A target at each position of a sample, see `per_token`."""

    target: Target
    causal: bool = False

    def __post_init__(self) -> None:
        _check_known("per_token", self.target)

    def __call__(self, model: Any, batch: Batch) -> Tensor:
        """Return the value at each label, (batch, positions), 0 where there is none."""
        logits, labels = labelled_logits(model, batch, self.causal)
        values = _AT_POSITIONS[self.target](logits, labels).masked_fill(labels == IGNORED, 0.0)
        return self._at_labels(values)

    def mask(self, batch: Batch) -> Tensor:
        """Return where there is a label that the model predicts, bool (batch, positions)."""
        labels = position_labels(batch, self.causal)
        known = labels.reshape(len(labels), labels.shape[1:].numel()) != IGNORED
        return self._at_labels(known)

    def _at_labels(self, predicted: Tensor) -> Tensor:
        """Move what position t says of the next token to that token."""
        return predicted.roll(1, 1) if self.causal else predicted


def causal(target: Target) -> CausalTarget:
    """Return a target for models whose logits at position t predict the token at t+1.

    The label of position t is that of t+1, so batches need not be shifted. A mapping without "labels"
    has its "input_ids" as labels. There is no label where it is -100, nor where the token or the one that
    it follows is padding (attention_mask 0). Results of the same target are equal. ValueError if the
    target is not `cross_entropy`, `log_probability`, `logit` or `margin`.
    """
    return CausalTarget(target)


def per_token(target: Target) -> TokenTarget:
    """Return a target with one value per token: of the label at position t, 0 where there is none.

    Cross-entropy, log-probability and logit sum up to those of the sample; margins do not. In a causal
    model the value of token t comes from the logits at t-1, so the first token has none. Where there is
    one label per sample there is one position. ValueError if the target is none of this module, nor
    `causal` of one.

    Example:
        >>> batch = {"input_ids": torch.tensor([[0, 3, 2]])}
        >>> model = lambda input_ids: torch.zeros(1, 3, 4)
        >>> f = per_token(causal(cross_entropy))
        >>> f(model, batch).exp(), f.mask(batch)
        (tensor([[1., 4., 4.]]), tensor([[False,  True,  True]]))
    """
    if isinstance(target, CausalTarget):
        return TokenTarget(target.target, causal=True)
    return TokenTarget(target)


def _of_samples(target: Target, model: Any, batch: Batch, causal: bool = False) -> Tensor:
    logits, labels = labelled_logits(model, batch, causal)
    values = _AT_POSITIONS[target](logits, labels)
    if target is margin:
        return _joined_margins(values.masked_fill(labels == IGNORED, CERTAIN))
    return values.sum(1)


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    rows = logits.flatten(0, 1)
    flat = F.cross_entropy(rows, labels.flatten(), ignore_index=IGNORED, reduction="none")
    return flat.view(labels.shape)


def _logits(logits: Tensor, labels: Tensor) -> Tensor:
    ignored = labels == IGNORED
    own = logits.gather(2, labels.masked_fill(ignored, 0).unsqueeze(2)).squeeze(2)
    return own.masked_fill(ignored, 0.0)


def _margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y - log Σ_{c≠y} exp z_c; anything where there is no label."""
    labels = labels.masked_fill(labels == IGNORED, 0).unsqueeze(2)
    classes = torch.arange(logits.shape[2], device=logits.device)
    others = logits.masked_fill(classes == labels, -torch.inf)
    return logits.gather(2, labels).squeeze(2) - others.logsumexp(dim=2)


def _joined_margins(margins: Tensor) -> Tensor:
    """Return -log(exp(L) - 1) with L = Σ_t log(1 + exp(-m_t)), (n,), exact for every size of L."""
    if margins.shape[1] == 1:
        return margins[:, 0]
    loss = F.softplus(-margins, threshold=40).sum(1)
    # Below e^-20, softplus(x) = e^x - e^2x/2 and log(e^L - 1) = log L + L/2 hold to 1e-18. Each
    # branch is clamped to where it holds, so that no infinity enters the gradient of the other.
    low = (-margins).clamp_max(-20.0)
    high = F.softplus((-margins).clamp_min(-20.0), threshold=40).log()
    log_loss = torch.where(-margins < -20.0, low - 0.5 * low.exp(), high).logsumexp(1)
    low = log_loss.clamp_max(-20.0)
    high = loss.clamp_min(2e-9)
    high = high + torch.log(-torch.expm1(-high))
    return -torch.where(log_loss < -20.0, low + 0.5 * low.exp(), high)


_AT_POSITIONS: dict[Target, Callable[[Tensor, Tensor], Tensor]] = {
    cross_entropy: _losses,
    log_probability: lambda logits, labels: -_losses(logits, labels),
    logit: _logits,
    margin: _margins,
}


def check_shift(target: Any, batch: Batch) -> None:
    """Refuse a target that does not shift its labels for a batch whose labels are its own tokens."""
    if target in _AT_POSITIONS:
        check_own_tokens(batch)


def _check_known(name: str, target: Target) -> None:
    if target not in _AT_POSITIONS:
        raise ValueError(
            f"{name} needs cross_entropy, log_probability, logit or margin of headwater.targets, "
            f"got {target!r}"
        )
