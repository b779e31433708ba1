"""Which groups of parameters the rules serve: found on a few samples, by comparison.

The rules' terms are compared with backward passes through the same small batch: both forward passes
are the same, so that only the rounding of a backward pass is to be forgiven. Whether a value depends
on the rest of its batch is a question of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from headwater.batches import Batch, batch_size, sample_tensors, select
from headwater.checks import check_finite
from headwater.gradients.gradients import Scheme
from headwater.gradients.matrix import Matrix
from headwater.gradients.per_sample import looped_gradients
from headwater.gradients.recording import Calls, Layout, layouts_of, record, term_of
from headwater.gradients.rules import Rule
from headwater.gradients.uses import Use
from headwater.task import BoundModel, SampleFunction

__all__ = ["Plan", "Probe", "telling"]

log = logging.getLogger(__name__)
FEW = 3
"""Samples to compare on: of two, one half may happen to be as good as the other."""
COARSE = 1e-6
"""The step of numbers of less than 32 bits is larger than that."""
SMALL = 0.01
"""The share of the whole gradient, of which groups with less are compared with that."""


@dataclass(frozen=True)
class Plan:
    """How the gradients of a batch are made.

    Args:
        layouts: by the number of a group that rules serve, its layers and where their samples are.
        matrices: by the number of such a group, the shape of its weight.
        spread: layers that are called once for all samples.
        sizes: by the name of a layer, how many numbers of each sample its outputs had...
        shapes: ... where this was the shape of one sample in each tensor of the batch.
    """

    layouts: dict[int, dict[str, Layout]]
    matrices: dict[int, Matrix | None]
    spread: Collection[str]
    sizes: Mapping[str, float]
    shapes: Sequence[tuple[int, ...]]

    def moving(self, batch: Batch, calls: Calls) -> set[str]:
        """Return layers that get more or less of such samples than they did before.

        The experts of a mixture work on what is routed to them, and whose that is their inputs do
        not say.
        """
        if not batch_size(batch) or self.shapes != _shapes(batch):
            return set()
        sizes = _sizes(calls, batch_size(batch))
        return {name for name in calls if sizes[name] != self.sizes.get(name, 0.0)}

    def without(self, layers: Collection[str]) -> Plan:
        """Return the plan of the groups that none of some layers works for."""
        kept = {g: own for g, own in self.layouts.items() if own.keys().isdisjoint(layers)}
        return replace(self, layouts=kept)


@dataclass(frozen=True)
class Probe:
    """A comparison of the rules with autograd, on a few samples.

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,).
        few: samples; one alone shows neither a dependence nor where the samples are.
        scheme: the groups of parameters.
        layers: those that use each group.
        rules: by the name of a layer.
    """

    model: BoundModel
    function: SampleFunction
    few: Batch
    scheme: Scheme
    layers: Sequence[Sequence[Use]]
    rules: Mapping[str, Rule]

    def plan(self) -> Plan:
        """Return the groups whose whole gradient the rules give, and how.

        Raises:
            ValueError: if the value of one sample depends on the others.
        """
        exact = self._gradients()
        self._check_independent(exact)
        calls, _ = record(self.model, self.function, self.few, self.rules)
        plan = self._compared(exact, calls)
        for once in self._called_once(calls, plan):
            try:
                calls, _ = record(self.model, self.function, self.few, self.rules, once)
            except Exception:  # the model may insist in any way on what such a layer returns
                log.info("%s: one output for all samples", ", ".join(sorted(once)))
            else:
                plan = max(plan, self._compared(exact, calls, once), key=lambda p: len(p.layouts))
        for group, names in enumerate(self.scheme.groups):
            if group not in plan.layouts:
                log.info("%s: differentiated sample by sample", ", ".join(names))
        return plan

    def _gradients(self) -> Tensor:
        """Return ∇f_i, all samples in one batch, (n, p)."""
        rows = []
        for chosen in torch.eye(batch_size(self.few), device=self.model.device):
            only = lambda m, b, chosen=chosen: self.function(m, b) * chosen  # noqa: E731
            rows.append(self.model.gradient(only, self.few)[None])
        if not rows:
            return looped_gradients(self.model, self.function, self.few)
        return torch.cat(rows).to(torch.promote_types(self.model.dtype, torch.float32))

    def _compared(self, exact: Tensor, calls: Calls, spread: Collection[str] = ()) -> Plan:
        """Return the plan of the groups for which calls give the exact gradients (n, p)."""
        n = len(exact)
        dtypes = {call.dtype for made in calls.values() for call in made if call}
        dtypes.add(self.model.dtype)
        eps = max(torch.finfo(dtype).eps for dtype in dtypes)
        # Sums in fine numbers lose digits to each other; coarse results are rounded, not their sums.
        tolerance = eps**0.5 if eps < COARSE else 4 * eps
        whole = exact.norm(dim=1)
        layouts: dict[int, dict[str, Layout]] = {}
        matrices: dict[int, Matrix | None] = {}
        for group, uses in enumerate(self.layers):
            names = self.scheme.groups[group]
            wanted = self.scheme.take(exact, group)
            bound = tolerance * torch.maximum(wanted.norm(dim=1), SMALL * whole)
            called = [use.module for use in uses if use.module in calls]
            fitting = []
            for choice in product(*(layouts_of(calls[layer], n) for layer in called)):
                chosen = dict(zip(called, choice, strict=True))
                term = term_of(names, self.model, uses, chosen, calls, n)
                if term is not None and bool(((term.dense() - wanted).norm(dim=1) <= bound).all()):
                    fitting.append((chosen, term.matrix))
            # Several fit where a gradient is zero: which is right, these samples do not tell.
            if uses and (len(fitting) == 1 or (fitting and n < 2)):
                layouts[group], matrices[group] = fitting[0]
        return Plan(layouts, matrices, spread, _sizes(calls, n), _shapes(self.few))

    def _called_once(self, calls: Calls, plan: Plan) -> list[set[str]]:
        """Return layers, not served yet, that may be called once for all samples: of positions.

        First those with other than n outputs, then also those with n, which may be as many positions.
        """
        n = batch_size(self.few)
        rest = {
            u.module for g, uses in enumerate(self.layers) if g not in plan.layouts for u in uses
        }
        counts = {
            name: {len(call.output_gradient) for call in made if call is not None and call.constant}
            for name, made in calls.items()
            if name in rest
        }
        sure = {name for name, found in counts.items() if found - {n}}
        every = {name for name, found in counts.items() if found}
        return [once for once in ([sure] if sure == every else [sure, every]) if once]

    def _check_independent(self, exact: Tensor) -> None:
        """Refuse a function whose value for one sample depends on the others in its batch.

        Of a sample without loss all that a gradient holds is rounding: its value has to differ too.
        """
        n = batch_size(self.few)
        with torch.no_grad():
            together = self.model.values(self.function, self.few)
            apart = [
                self.model.values(self.function, select(self.few, slice(i, i + 1)))
                for i in range(n)
            ]
        alone = looped_gradients(self.model, self.function, self.few)
        eps = max(torch.finfo(t.dtype).eps for t in (alone, together))
        if n > 1 and all(
            bool((found - wanted).norm() > 4 * eps**0.5 * wanted.norm() + floor)
            for found, wanted, floor in ((exact, alone, 0), (together, torch.cat(apart), 10 * eps))
        ):
            raise ValueError(
                "the value of a sample must not depend on the others in its batch, but the gradient "
                "of samples together is not the sum of their own; "
                "look for statistics over the batch or a loss divided by the batch size"
            )


def telling(model: BoundModel, function: SampleFunction, batch: Batch, first_row: int) -> Batch:
    """Return the samples with the largest values: of a loss that is all but zero, ∇f is noise."""
    with torch.no_grad():
        values = model.values(function, batch)
    check_finite("the value of the function", values, first_row)
    if len(values) <= FEW:
        return batch
    return select(batch, values.abs().topk(FEW).indices.sort().values)


def _sizes(calls: Calls, n: int) -> dict[str, float]:
    return {
        name: sum(call.output_gradient.numel() / max(1, n) for call in made if call is not None)
        for name, made in calls.items()
    }


def _shapes(batch: Batch) -> list[tuple[int, ...]]:
    return [tuple(t.shape[1:]) for t in sample_tensors(batch)]
