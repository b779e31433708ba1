"""Which groups of parameters the rules serve: a few samples are compared with autograd."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from headwater.batches import Batch, batch_size, sample_tensors, select
from headwater.checks import check_finite
from headwater.gradients.layers import Layers
from headwater.gradients.matrix import Matrix
from headwater.gradients.per_sample import looped_gradients
from headwater.gradients.recording import Recording, record
from headwater.targets import check_shift
from headwater.task import BoundModel, SampleFunction

log = logging.getLogger(__name__)
FEW = 3  # samples to compare on: of two, one half may happen to be as good as the other
COARSE = 1e-6  # the step of numbers of less than 32 bits is larger than that
SMALL = 0.01  # groups with less than this share of the whole gradient are compared with that share


@dataclass(frozen=True)
class Plan:
    """How the gradients of a batch are made."""

    axes: dict[int, dict[str, int]]  # by group that rules serve, its layers and where samples are
    matrices: dict[int, Matrix | None]  # by the number of such a group, the shape of its weight
    spread: Collection[str]  # layers that are called once for all samples
    sizes: Mapping[str, float]  # by layer, how many numbers of each sample its outputs had...
    shapes: Sequence[tuple[int, ...]]  # ...where tensors of the batch had these shapes a sample

    def moving(self, batch: Batch, recording: Recording) -> set[str]:
        """Return layers that get more or less of such samples than they did before: experts."""
        if not batch_size(batch) or self.shapes != _shapes(batch):
            return set()
        sizes = recording.sizes()
        return {name for name, size in sizes.items() if size != self.sizes.get(name, 0.0)}


@dataclass(frozen=True)
class Probe:
    """A comparison of the rules with autograd, on a few samples."""

    model: BoundModel
    function: SampleFunction
    few: Batch
    layers: Layers
    factors: bool

    def plan(self) -> Plan:
        """Return the groups whose whole gradient the rules give, and how."""
        check_shift(self.function, self.few)
        exact = self._gradients()
        self._check_function(exact)
        recording = self._record()
        plan = self._compared(exact, recording)
        for once in self._called_once(recording, plan):
            try:
                spread = self._record(once)
            except Exception:  # the model may insist in any way on what such a layer returns
                log.info("%s: one output for all samples", ", ".join(sorted(once)))
            else:
                plan = max(plan, self._compared(exact, spread, once), key=lambda p: len(p.axes))
        for group, names in enumerate(self.layers.scheme.groups):
            if group not in plan.axes:
                log.info("%s: differentiated sample by sample", ", ".join(names))
        return plan

    def _record(self, spread: Collection[str] = ()) -> Recording:
        rules = self.layers.rules
        return record(self.model, self.function, self.few, rules, spread, self.factors)

    def _gradients(self) -> Tensor:
        """Return ∇f_i, all samples in one batch, (n, p)."""
        if not batch_size(self.few):
            return looped_gradients(self.model, self.function, self.few)
        rows = []
        for chosen in torch.eye(batch_size(self.few), device=self.model.device):
            only = lambda m, b, chosen=chosen: self.function(m, b) * chosen  # noqa: E731
            rows.append(self.model.gradient(only, self.few))
        return torch.stack(rows).to(torch.promote_types(self.model.dtype, torch.float32))

    def _compared(self, exact: Tensor, recording: Recording, spread: Collection[str] = ()) -> Plan:
        """Return the plan of the groups for which recorded calls give the exact gradients (n, p)."""
        calls, scheme = recording.calls, self.layers.scheme
        dtypes = {call.dtype for made in calls.values() for call in made if call}
        eps = max(torch.finfo(dtype).eps for dtype in dtypes | {self.model.dtype})
        # Sums in fine numbers lose digits to each other; coarse results are rounded, not their sums.
        tolerance = eps**0.5 if eps < COARSE else 4 * eps
        whole = exact.norm(dim=1)
        axes: dict[int, dict[str, int]] = {}
        matrices: dict[int, Matrix | None] = {}
        for group, uses in enumerate(self.layers.uses):
            wanted = scheme.take(exact, group)
            bound = tolerance * torch.maximum(wanted.norm(dim=1), SMALL * whole)
            called = [use.module for use in uses if use.module in calls]
            fitting = []
            for choice in product(*map(recording.axes, called)):
                chosen = dict(zip(called, choice, strict=True))
                term = recording.term(scheme.groups[group], uses, chosen)
                if term is not None and bool(((term.dense() - wanted).norm(dim=1) <= bound).all()):
                    fitting.append((chosen, term.matrix))
            # Several fit where a gradient is zero: which is right, these samples do not tell.
            if uses and (len(fitting) == 1 or (fitting and len(exact) < 2)):
                axes[group], matrices[group] = fitting[0]
        return Plan(axes, matrices, spread, recording.sizes(), _shapes(self.few))

    def _called_once(self, recording: Recording, plan: Plan) -> list[set[str]]:
        """Return layers, not served yet, that may be called once for all samples: of positions."""
        n, groups = batch_size(self.few), enumerate(self.layers.uses)
        rest = {u.module for g, uses in groups if g not in plan.axes for u in uses}
        counts = {
            name: {len(call.output_gradient) for call in made if call is not None and call.constant}
            for name, made in recording.calls.items()
            if name in rest
        }
        # First those with other than n outputs: n may be as many positions.
        sure = {name for name, found in counts.items() if found - {n}}
        every = {name for name, found in counts.items() if found}
        return [once for once in ([sure] if sure == every else [sure, every]) if once]

    def _check_function(self, exact: Tensor) -> None:
        """Refuse a function whose values depend on the others in a batch, or on chance."""
        n = batch_size(self.few)
        together = self._differentiable_values()
        with torch.no_grad():
            again = self.model.values(self.function, self.few)
            singles = [select(self.few, slice(i, i + 1)) for i in range(n)]
            apart = [self.model.values(self.function, single) for single in singles]
        alone = looped_gradients(self.model, self.function, self.few)
        eps = max(torch.finfo(t.dtype).eps for t in (alone, together))

        def differ(found: Tensor, wanted: Tensor, floor: float) -> bool:
            return bool((found - wanted).norm() > 4 * eps**0.5 * wanted.norm() + floor)

        if differ(again, together, 10 * eps):
            raise ValueError(
                "loss and target must give the same values for the same samples, got others in a second "
                "pass; look for random numbers in the forward pass, such as F.dropout without "
                "training=self.training"
            )
        # Of a sample without loss all that a gradient holds is rounding: values must differ too.
        if n > 1 and differ(exact, alone, 0) and differ(together, torch.cat(apart), 10 * eps):
            raise ValueError(
                "the value of a sample must not depend on the others in its batch, but the gradient "
                "of samples together is not the sum of their own; look for statistics over the batch, a "
                "contrastive loss, or a loss divided by the batch size"
            )

    def _differentiable_values(self) -> Tensor:
        """Return f_i, (n,); refuse a function that no gradient of the parameters leads to."""
        with torch.enable_grad():
            parameters = {**self.model.parameters, **self.model.leaves()}
            values = self.model.values(self.function, self.few, parameters)
        if batch_size(self.few) and not values.requires_grad:
            raise ValueError(
                "loss and target must be differentiable in the selected parameters, got values without a "
                "gradient; look for torch.no_grad(), detach(), argmax or NumPy on the way to them, or "
                "for selected layers that the forward pass does not use"
            )
        return values.detach()


def telling(model: BoundModel, function: SampleFunction, batch: Batch, first_row: int) -> Batch:
    """Return the samples with the largest values: of a loss that is all but zero, ∇f is noise."""
    with torch.no_grad():
        values = model.values(function, batch)
    check_finite("the value of the function", values, first_row)
    if len(values) <= FEW:
        return batch
    return select(batch, values.abs().topk(FEW).indices.sort().values)


def _shapes(batch: Batch) -> list[tuple[int, ...]]:
    return [tuple(t.shape[1:]) for t in sample_tensors(batch)]
