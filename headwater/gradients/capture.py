"""Capture of factored gradients by forward hooks: one forward and one backward pass a batch.

The hook of a Linear module keeps its input a and its output z; after the forward pass
``autograd.grad(Σ_i f_i, all z)`` gives e = ∂f/∂z. No parameter requires a gradient, so no weight
gradient is ever computed, and the pass costs less than an ordinary backward.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headwater.batches import Batch, batch_size, map_tensors, to_device
from headwater.checks import check_finite
from headwater.gradients.factored import FactoredGradients, GradientScheme, LinearLayer
from headwater.gradients.linear import LinearFactors
from headwater.gradients.per_sample import per_sample_gradients
from headwater.task import BoundModel, SampleFunction

__all__ = ["GradientCapture"]

log = logging.getLogger(__name__)
Calls = dict[str, list[tuple[Tensor, Tensor]]]


class GradientCapture:
    """Capture the exact gradients of f for each sample of a batch, factored where possible.

    On its first batch it compares the factors with vmap(grad) on two samples. A Linear layer whose
    factors do not give its whole gradient (weights tied to another layer, used outside of their
    module, positions before samples) is kept dense instead, as are all other parameters.

    Args:
        model: the model at one checkpoint.
        function: f(model, batch) -> (batch,), the loss or the target.

    Example:
        >>> from headwater import AttributionTask
        >>> f = lambda model, batch: model(batch).sum(1)
        >>> task = AttributionTask(torch.nn.Linear(3, 2), f)
        >>> GradientCapture(task.bind(), f)(torch.ones(4, 3)).dense().shape
        torch.Size([4, 8])
    """

    def __init__(self, model: BoundModel, function: SampleFunction) -> None:
        self.model = model
        self.function = function
        self._scheme: GradientScheme | None = None
        self._compared = False

    def __call__(self, batch: Batch, first_row: int = 0) -> FactoredGradients:
        """Return the gradients of a batch.

        Args:
            batch: n samples.
            first_row: the number of samples before this batch, for error messages.

        Raises:
            ValueError: if a value or a gradient is not finite, or depends on the rest of the batch.
        """
        batch = to_device(batch, self.model.device)
        if self._scheme is None:
            self._scheme = self._probe(batch)
        elif not self._compared and batch_size(batch) > 1:
            self._probe(batch)  # the batch of one sample before could not show a dependence
        gradients = self._capture(batch, self._scheme)
        check_finite("the value of the function", gradients.values, first_row)
        for layer, factors in zip(self._scheme.layers, gradients.layers, strict=True):
            check_finite(f"the gradient in layer {layer.name}", factors.errors, first_row)
            # A dead ReLU hides an infinite input from the value, not from the gradient: 0 · ∞.
            check_finite(f"the input of layer {layer.name}", factors.inputs, first_row)
        check_finite("the gradient", gradients.rest, first_row)
        return gradients

    def _capture(self, batch: Batch, scheme: GradientScheme) -> FactoredGradients:
        n = batch_size(batch)
        with torch.enable_grad(), self._recording(scheme.layers) as calls:
            values = self.model.values(self.function, batch)
            outputs = [z for layer in scheme.layers for _, z in calls[layer.name]]
            errors: tuple[Tensor | None, ...] = ()
            if outputs:
                errors = torch.autograd.grad(values.sum(), outputs, allow_unused=True)
        remaining = iter(errors)
        layers = tuple(
            _factors(calls[layer.name], remaining, n, layer.bias is not None)
            for layer in scheme.layers
        )
        if scheme.rest:
            rest = per_sample_gradients(self.model, self.function, batch, scheme.rest)
        else:
            rest = values.new_zeros(n, 0)
        return FactoredGradients(scheme, layers, rest.detach(), values.detach())

    @contextmanager
    def _recording(self, layers: tuple[LinearLayer, ...]) -> Iterator[Calls]:
        """Record the input and output of every call of the layers."""
        calls: Calls = defaultdict(list)
        modules = dict(self.model.module.named_modules())

        def hook_of(name: str) -> Any:
            def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
                if not output.requires_grad:
                    output.requires_grad_()
                calls[name].append((args[0].detach(), output))
                return output.clone()  # what follows may change it in place

            return hook

        handles = [
            modules[layer.name].register_forward_hook(hook_of(layer.name)) for layer in layers
        ]
        try:
            yield calls
        finally:
            for handle in handles:
                handle.remove()

    def _probe(self, batch: Batch) -> GradientScheme:
        """Find the Linear layers whose factors are their whole gradient, on two samples."""
        two = map_tensors(batch, lambda t: t[:2])
        layout = self.model.layout
        candidates = tuple(self._candidates())
        with torch.no_grad(), self._recording(candidates) as calls:
            self.model.values(self.function, two)
        n = batch_size(two)
        called = tuple(c for c in candidates if calls[c.name] and _is_per_sample(calls[c.name], n))
        captured = self._capture(two, GradientScheme(layout, called)).dense()
        exact = per_sample_gradients(self.model, self.function, two)
        tolerance = 1e-3 if exact.dtype in (torch.float32, torch.float16, torch.bfloat16) else 1e-8
        scale = exact.norm(dim=1, keepdim=True).clamp_min(torch.finfo(exact.dtype).tiny)
        wrong = (captured - exact).abs() > tolerance * scale
        kept = tuple(
            layer
            for layer in called
            if not any(wrong[:, layout.slices[p]].any() for p in (layer.weight, layer.bias) if p)
        )
        self._check_independent(two, exact, tolerance * scale)
        self._compared = n > 1
        for layer in candidates:
            if layer not in kept:
                log.info(
                    "layer %s: its gradient is more than its own factors, kept dense", layer.name
                )
        return GradientScheme(layout, kept)

    def _candidates(self) -> Iterator[LinearLayer]:
        for name, module in self.model.module.named_modules():
            prefix = f"{name}." if name else ""
            weight, bias = f"{prefix}weight", f"{prefix}bias"
            if isinstance(module, nn.Linear) and weight in self.model.parameters:
                yield LinearLayer(name, weight, bias if bias in self.model.parameters else None)

    def _check_independent(self, two: Batch, exact: Tensor, bound: Tensor) -> None:
        """Refuse a function whose value for one sample depends on the others in its batch."""
        parameters = {
            name: t.detach().requires_grad_() for name, t in self.model.parameters.items()
        }
        with torch.enable_grad():
            total = self.model.values(self.function, two, parameters).sum()
            found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        together = {
            name: torch.zeros_like(t) if g is None else g
            for (name, t), g in zip(parameters.items(), found, strict=True)
        }
        difference = self.model.layout.flatten(together) - exact.sum(0)
        if bool((difference.abs() > 2 * bound.max()).any()):
            raise ValueError(
                "the value of a sample must not depend on the others in its batch, but the gradient "
                "of two samples together is not the sum of their own; "
                "look for statistics over the batch or a loss divided by the batch size"
            )


def _is_per_sample(calls: list[tuple[Tensor, Tensor]], n: int) -> bool:
    return all(a.ndim >= 2 and a.shape[0] == n for a, _ in calls)


def _factors(
    calls: list[tuple[Tensor, Tensor]], errors: Iterator[Tensor | None], n: int, bias: bool
) -> LinearFactors:
    """Join all calls of one layer along the positions: a (n, T, d_in), e (n, T, d_out)."""
    a_parts, e_parts = [], []
    for a, z in calls:
        error = next(errors)
        e = torch.zeros_like(z) if error is None else error
        a_parts.append(a.reshape(n, -1, a.shape[-1]))
        e_parts.append(e.detach().reshape(n, -1, e.shape[-1]))
    if len(a_parts) == 1:
        return LinearFactors(a_parts[0], e_parts[0], bias)
    return LinearFactors(torch.cat(a_parts, 1), torch.cat(e_parts, 1), bias)
