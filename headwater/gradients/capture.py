"""Capture of per-sample gradients by forward hooks: one forward and one backward pass per batch.

The hook of a layer keeps its input a and its output z; after the forward pass
``autograd.grad(Σ_i f_i, all z)`` gives e = ∂f/∂z, and the layer's rule makes the gradients of its
parameters of a and e. No parameter requires a gradient, so no weight gradient is ever computed.
"""

from __future__ import annotations

import logging
from itertools import product

import torch
from torch import Tensor

from headwater.batches import Batch, batch_size, select, to_device
from headwater.checks import check_all_finite
from headwater.gradients.dense import Dense
from headwater.gradients.forms import smaller
from headwater.gradients.gradients import Gradients, Scheme
from headwater.gradients.per_sample import looped_gradients, per_sample_gradients
from headwater.gradients.recording import Call, Layout, record, term_of
from headwater.gradients.rules import rule_of
from headwater.gradients.term import Term
from headwater.gradients.uses import Use, scheme_of, uses_of
from headwater.task import BoundModel, SampleFunction

__all__ = ["GradientCapture"]

log = logging.getLogger(__name__)
Plan = dict[int, tuple[tuple[Use, Layout], ...]]
"""The groups that rules can serve: the layers that use them, and how their inputs hold samples."""
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Of a captured gradient beside one computed sample by sample."""


class GradientCapture:
    """Capture the exact gradients of f for each sample of a batch, each term in its cheapest form.

    On its first batch it compares what the rules give with one backward pass per sample, on two
    samples. Parameters whose gradient is not what their layers' rules say (used outside of their
    module, layers without a rule) are differentiated sample by sample instead.

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,), the loss or the target.
        keep_factors: whether inputs and output gradients are kept even where the formed gradient is
            smaller, as Kronecker factors need them.

    Example:
        >>> from headwater import AttributionTask
        >>> f = lambda model, batch: model(batch).sum(1)
        >>> task = AttributionTask(torch.nn.Linear(3, 2), f)
        >>> GradientCapture(task.bind(), f)(torch.ones(4, 3)).dense().shape
        torch.Size([4, 8])
    """

    def __init__(
        self, model: BoundModel, function: SampleFunction, keep_factors: bool = False
    ) -> None:
        self.model, self.function, self.keep_factors = model, function, keep_factors
        self._uses = uses_of(model.module, model.layout.names)
        modules = dict(model.module.named_modules())
        used = {use.module for uses in self._uses.values() for use in uses}
        self._rules = {name: rule for name in used if (rule := rule_of(modules[name]))}
        joint = {name for name, rule in self._rules.items() if rule.joint}
        self.scheme: Scheme = scheme_of(model.layout, self._uses, joint)
        self._plan: Plan | None = None
        self._compared = False

    def __call__(self, batch: Batch, first_row: int = 0) -> Gradients:
        """Return the gradients of a batch.

        Args:
            batch: n samples.
            first_row: the number of samples before this batch, for error messages.

        Raises:
            ValueError: if a value or a gradient is not finite, or depends on the rest of the batch.
        """
        batch = to_device(batch, self.model.device)
        if self._plan is None or (not self._compared and batch_size(batch) > 1):
            self._plan = self._probe(batch)  # a batch of one sample cannot show a dependence
        gradients = self._capture(batch, self._plan)
        named = {"the value of the function": gradients.values}
        for name, term in zip(self.scheme.names, gradients.terms, strict=True):
            for part, tensor in term.tensors().items():
                if tensor.is_floating_point():
                    # A dead ReLU hides an infinite input from the value, not from the gradient.
                    named[f"the gradient of {name} ({part})"] = tensor
        check_all_finite(named, first_row)
        return gradients

    def _capture(self, batch: Batch, plan: Plan) -> Gradients:
        n = batch_size(batch)
        calls, values = self._record(
            batch, {use.module for uses in plan.values() for use, _ in uses}
        )
        terms: list[Term | None] = []
        for group in range(len(self.scheme.groups)):
            term = self._term(group, plan[group], calls, n) if group in plan else None
            kept = term if term is None or self.keep_factors else smaller(term)
            terms.append(kept)
        calls.clear()
        rest = [g for g, term in enumerate(terms) if term is None]
        if rest:
            names = [name for g in rest for name in self.scheme.groups[g]]
            vectors = per_sample_gradients(self.model, self.function, batch, names).detach()
            widths = [self.scheme.by_group[g].layout.size for g in rest]
            for g, columns in zip(rest, vectors.split(widths, 1), strict=True):
                terms[g] = Dense(columns)
        return Gradients(self.scheme, [t for t in terms if t is not None], values)

    def _record(self, batch: Batch, names: set[str]) -> tuple[dict[str, list[Call]], Tensor]:
        """Return the calls of layers with their output gradients, and the values of f."""
        rules = {name: self._rules[name] for name in names}
        return record(self.model, self.function, batch, rules)

    def _term(
        self,
        group: int,
        uses: tuple[tuple[Use, Layout], ...],
        calls: dict[str, list[Call]],
        n: int,
    ) -> Term | None:
        """Return the sum over all calls of the layers that use a group; None: they do not fit."""
        parameters = self.scheme.groups[group]
        shapes = dict(self.scheme.layout.shapes)
        total: Term | None = None
        for use, layout in uses:
            for call in calls.get(use.module, ()):
                term = term_of(call, use, parameters, shapes, n, layout)
                if term is None:
                    return None
                total = term if total is None else total.plus(term)
        if total is not None:
            return total
        width = self.scheme.by_group[group].layout.size  # a function that does not reach the layer
        return Dense(torch.zeros(n, width, dtype=self.model.dtype, device=self.model.device))

    def _probe(self, batch: Batch) -> Plan:
        """Find the groups that rules give the whole gradient of, by comparison on two samples."""
        two = select(batch, slice(0, 2))
        n = batch_size(two)
        calls, _ = self._record(two, set(self._rules))
        exact = looped_gradients(self.model, self.function, two).detach()
        coarse = max(
            (call.dtype for made in calls.values() for call in made),
            key=lambda dtype: torch.finfo(dtype).eps,
            default=exact.dtype,
        )
        whole = exact.norm(dim=1, keepdim=True)
        plan: Plan = {}
        for group, parameters in enumerate(self.scheme.groups):
            wanted = self.scheme.take(exact, group)
            bound = _bound(wanted, whole, coarse)
            uses = dict.fromkeys(use for name in parameters for use in self._uses.get(name, ()))
            for layouts in product(Layout, repeat=len(uses)) if uses else ():
                chosen = tuple(zip(uses, layouts, strict=True))
                term = self._term(group, chosen, calls, n)
                if term is not None and bool(((term.dense() - wanted).abs() <= bound).all()):
                    plan[group] = chosen
                    break
            else:
                log.info("%s: differentiated sample by sample", ", ".join(parameters))
        rest = [g for g in range(len(self.scheme.groups)) if g not in plan]
        self._check_independent(two, exact, rest, coarse)
        self._compared = n > 1
        return plan

    def _check_independent(
        self, two: Batch, exact: Tensor, rest: list[int], coarse: torch.dtype
    ) -> None:
        """Refuse a function whose value for one sample depends on the others in its batch.

        Groups in the plan need no check: the rules gave each sample's own gradient, from one batch.
        """
        names = [name for group in rest for name in self.scheme.groups[group]]
        if not names:
            return
        together = self.model.gradient(self.function, two, names)
        alone = torch.cat([exact[:, self.scheme.layout.slices[name]].sum(0) for name in names])
        bound = 2 * TOLERANCE[coarse] * exact.norm(dim=1).max()
        if bool(((together - alone).abs() > bound).any()):
            raise ValueError(
                "the value of a sample must not depend on the others in its batch, but the gradient "
                "of two samples together is not the sum of their own; "
                "look for statistics over the batch or a loss divided by the batch size"
            )


def _bound(wanted: Tensor, whole: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the greatest difference that is rounding, per sample, (n, 1).

    In coarse numbers a small group drowns in the rounding of the others, so that the norm of the
    whole gradient counts; in fine ones mostly its own.
    """
    share = 0.03 if torch.finfo(dtype).eps < 1e-6 else 1.0
    scale = torch.maximum(wanted.norm(dim=1, keepdim=True), share * whole)
    return TOLERANCE[dtype] * scale.clamp_min(torch.finfo(wanted.dtype).tiny)
