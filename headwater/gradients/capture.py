"""Capture of per-sample gradients by forward hooks: one forward and one backward pass per batch.

Of the input a of each layer and the gradients e = ∂f/∂z at its output z the layer's rule makes those of
its parameters. No parameter requires a gradient, so no weight gradient is ever computed.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Self

from headwater.batches import Batch, batch_size, to_device
from headwater.checks import check_all_finite
from headwater.gradients.forms import smaller
from headwater.gradients.gradients import Gradients, Scheme
from headwater.gradients.layers import layers_of
from headwater.gradients.per_sample import per_sample_gradients
from headwater.gradients.plan import Plan, Probe, telling
from headwater.gradients.recording import record
from headwater.gradients.term import Dense, Term
from headwater.task import BoundModel, SampleFunction


class GradientCapture:
    """Capture the exact gradients of f for each sample of a batch, each term in its cheapest form.

    On a few samples of the first batch it compares what the rules give with one backward pass per
    sample. Parameters whose gradient is not what their layers' rules say (used outside of their
    module, layers without a rule) are differentiated sample by sample instead. With `keep_factors`
    inputs and output gradients are kept even where the formed gradient is smaller.
    """

    def __init__(
        self, model: BoundModel, function: SampleFunction, keep_factors: bool = False
    ) -> None:
        self.model, self.function, self.keep_factors = model, function, keep_factors
        self._layers = layers_of(model.module, model.layout)
        self.scheme: Scheme = self._layers.scheme
        self._plan: Plan | None = None
        self._probed = -1  # samples; one does not show a dependence, nor where samples are

    @property
    def without_rule(self) -> tuple[str, ...]:
        """The parameters that are differentiated sample by sample: all, until there was a batch."""
        served = {} if self._plan is None else self._plan.axes
        groups = enumerate(self.scheme.groups)
        return tuple(name for group, names in groups if group not in served for name in names)

    def at(self, model: BoundModel) -> Self:
        """Return the same capture, with what it knows of the model, at other parameters."""
        moved = copy.copy(self)
        moved.model = model
        return moved

    def __call__(self, batch: Batch, first_row: int = 0) -> Gradients:
        """Return the gradients of a batch, whose first sample messages call number `first_row`.

        ValueError if a value or a gradient is not finite, or depends on the rest of the batch.
        """
        batch = to_device(batch, self.model.device)
        if self._plan is None or self._probed < min(2, batch_size(batch)):
            few = telling(self.model, self.function, batch, first_row)
            probe = Probe(self.model, self.function, few, self._layers, self.keep_factors)
            self._plan, self._probed = probe.plan(), batch_size(few)
        gradients = self._capture(batch, self._plan)
        # A dead ReLU hides an infinite input from the value, not from the gradient.
        named = {
            f"the gradient of {name} ({part})": tensor
            for name, term in zip(self.scheme.names, gradients.terms, strict=True)
            for part, tensor in term.tensors().items()
            if tensor.is_floating_point()
        }
        check_all_finite({"the value of the function": gradients.values} | named, first_row)
        return gradients

    def _capture(self, batch: Batch, plan: Plan) -> Gradients:
        uses, groups = self._layers.uses, range(len(self.scheme.groups))
        served = {use.module for group in plan.axes for use in uses[group]}
        rules = {name: self._layers.rules[name] for name in served}
        recording = record(self.model, self.function, batch, rules, plan.spread, self.keep_factors)
        if moving := plan.moving(batch, recording):
            kept = {group: own for group, own in plan.axes.items() if moving.isdisjoint(own)}
            plan = self._plan = replace(plan, axes=kept)
        terms: dict[int, Term] = {}
        for group, axes in plan.axes.items():
            term = recording.term(self.scheme.groups[group], uses[group], axes)
            if term is not None:
                terms[group] = (term if self.keep_factors else smaller(term)).contiguous()
        recording.calls.clear()
        if rest := [group for group in groups if group not in terms]:
            chosen = [name for group in rest for name in self.scheme.groups[group]]
            vectors = per_sample_gradients(self.model, self.function, batch, chosen)
            vectors = vectors.detach().to(self.model.dtype)
            widths = [self.scheme.by_group[group].layout.size for group in rest]
            for group, columns in zip(rest, vectors.split(widths, 1), strict=True):
                terms[group] = Dense(columns, plan.matrices.get(group))
        return Gradients(self.scheme, [terms[group] for group in groups], recording.values)
