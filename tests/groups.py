"""The gradients of samples, group by group of parameters, and all of a source at once."""

from __future__ import annotations

from headwater.gradients import Gradients, concatenate
from headwater.gradients.source import GradientSource


def widths(gradients: Gradients) -> tuple[int, ...]:
    """Return how many numbers of a gradient belong to each group."""
    return tuple(term.width for term in gradients.terms)


def by_group(gradients: Gradients) -> list[Gradients]:
    """Return the gradients of each group of parameters on its own."""
    pairs = zip(gradients.scheme.by_group, gradients.terms, strict=True)
    return [Gradients(scheme, (term,), gradients.values) for scheme, term in pairs]


def train_gradients(source: GradientSource) -> Gradients:
    """Return all training gradients of a source."""
    return concatenate(list(source.train_blocks()))
