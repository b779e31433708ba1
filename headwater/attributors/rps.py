"""Representer points: a prediction as a sum over training samples, in the last layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from headwater.attributors.attributor import Attributor, Rows
from headwater.attributors.source import GradientSource
from headwater.batches import Batch, batch_size
from headwater.checks import check_finite, check_positive
from headwater.features import Features, all_features, values_at
from headwater.softmax_regression import fit_softmax
from headwater.solvers import State
from headwater.task import AttributionTask, SampleFunction

__all__ = ["RPS"]

WORKSPACE = 2**24
"""Pairs that one block of scores may hold (128 MiB in float64)."""


class RPS(Attributor):
    """Write the logits as a sum over training samples, after a refit of the last layer with L2.

    Θ* = argmin (1/n) Σ_i CE(q_i, softmax(Θ x_i)) + λ‖Θ‖², x the input of the last Linear layer (and
    a 1 for its bias). At this point z_j = Θ* x_j = Σ_i α_i ⟨x_i, x_j⟩, α_i = -(1/2λn) ∂CE_i/∂z_i, so
    sample i adds to the target scores[i, j] = ⟨∂f_j/∂z_j, α_i⟩ ⟨x_i, x_j⟩, in the unit of f to first
    order. Self-influence: what i takes from its own loss, -⟨∂ℓ_i/∂z_i, α_i⟩‖x_i‖².

    q are the model's own predictions: the samples that its answers rest on, not those its labels
    have moved; self-influence may then be negative. Or q are the labels: P = I/(2λn) in the
    formula of all methods, and self-influence is ‖∇ℓ_i‖²/(2λn) ≥ 0.

    Cost: one forward pass, and a convex problem in C(d + 1) numbers that Newton's method solves.

    Args:
        task: its loss must be the cross-entropy of the output of the layer.
        l2: λ > 0.
        layer: the Linear layer, nested names too; default: the one that is called last.
        normalize: whether features are scaled to length 1 (before the 1 of the bias is added).
        fit: what the layer is refitted to, "predictions" or "labels".

    Raises:
        ValueError: if an argument is out of its range, the loss is another one, or the refit does
            not reach a stationary point.

    Reference:
        Yeh et al., Representer Point Selection for Explaining Deep Neural Networks, NeurIPS 2018.

    Example:
        >>> from headwater import targets
        >>> task = AttributionTask(torch.nn.Linear(2, 3), targets.cross_entropy, targets.margin)
        >>> train = [(torch.eye(2), torch.tensor([0, 1]))]
        >>> RPS(task, l2=0.1).cache(train).attribute(train, train).shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        task: AttributionTask,
        l2: float,
        layer: str | None = None,
        normalize: bool = False,
        fit: Literal["predictions", "labels"] = "predictions",
    ) -> None:
        super().__init__(task)
        check_positive("l2", l2)
        if fit not in ("predictions", "labels"):
            raise ValueError(f"fit must be 'predictions' or 'labels', got {fit!r}")
        self.l2, self.layer, self.normalize, self.fit = l2, layer, normalize, fit

    @property
    def train_function(self) -> None:
        """No gradients of parameters are taken."""
        return None

    def prepare(self, source: GradientSource) -> State:
        """Return {"features": x, "alpha": α, "weight": Θ*, "gradient_norm"}, in float64."""
        found = all_features(source.model, self.task.loss, source.batches, self.layer)
        labels = self._label_probabilities(source, found)
        own = found.outputs.to(torch.float64).softmax(1)
        teacher = labels if self.fit == "labels" else own
        x = self._rows(found)
        fitted = fit_softmax(x, teacher, self.l2)
        alpha = (teacher - (x @ fitted.weight.T).softmax(1)) / (2 * self.l2 * len(x))
        norm = torch.tensor(fitted.gradient_norm, dtype=torch.float64)
        return {"features": x, "alpha": alpha, "weight": fitted.weight, "gradient_norm": norm}

    def solve(self, source: GradientSource, state: State) -> State:
        """Add the test features x_j and ∂f_j/∂z_j at the refitted logits."""
        found = all_features(source.model, self.task.loss, source.test_batches, self.layer)
        x = self._rows(found)
        z = x @ state["weight"].T
        slopes = _slopes(source, self.task.target, source.test_batches, found.layer, z)
        return {
            "features": state["features"],
            "alpha": state["alpha"],
            "test_features": x,
            "test_slopes": slopes,
        }

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield ⟨∂f_j/∂z_j, α_i⟩⟨x_i, x_j⟩."""
        x, slopes = solved["test_features"], solved["test_slopes"]
        step = max(1, WORKSPACE // len(x))
        for start in range(0, len(solved["alpha"]), step):
            rows = slice(start, min(start + step, len(solved["alpha"])))
            kernel = solved["features"][rows] @ x.T
            yield rows, kernel.mul_(solved["alpha"][rows] @ slopes.T)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return -⟨∂ℓ_i/∂z_i, α_i⟩‖x_i‖²."""
        x = state["features"]
        found = all_features(source.model, self.task.loss, source.batches, self.layer)
        z = x @ state["weight"].T
        slopes = _slopes(source, self.task.loss, source.batches, found.layer, z)
        return -(slopes * state["alpha"]).sum(1) * x.square().sum(1)

    def _rows(self, found: Features) -> Tensor:
        """Return x, (n, d), or (n, d + 1) with a bias."""
        x = found.inputs.to(torch.float64)
        if self.normalize:
            x = normalize(x, dim=1)
        return torch.cat([x, torch.ones_like(x[:, :1])], 1) if found.bias else x

    def _label_probabilities(self, source: GradientSource, found: Features) -> Tensor:
        """Return q = softmax(z) - ∂ℓ/∂z of a cross-entropy, the same at every z, (n, C)."""
        z = found.outputs.to(torch.float64)
        at_zero, at_own = (
            logits.softmax(1) - _slopes(source, self.task.loss, source.batches, found.layer, logits)
            for logits in (torch.zeros_like(z), z)
        )
        if not torch.allclose(at_zero, at_own, atol=1e-4) or bool((at_zero < -1e-4).any()):
            raise ValueError(
                f"the loss must be the cross-entropy of the output of the layer {found.layer!r}, got "
                "another function of it; name the layer that makes the logits with layer="
            )
        return at_zero


def _slopes(
    source: GradientSource,
    function: SampleFunction,
    batches: Iterable[Batch],
    layer: str,
    outputs: Tensor,
) -> Tensor:
    """Return ∂f_i/∂z_i with the outputs of the layer replaced, (n, C)."""
    parts, done = [], 0
    for batch in batches:
        z = outputs[done : done + batch_size(batch)].detach().requires_grad_()
        with torch.enable_grad():
            values = values_at(source.model, function, batch, layer, z)
            # 0 · z: a function that does not depend on the logits has slope 0, and is no error.
            (slope,) = torch.autograd.grad(values.sum() + 0.0 * z.sum(), z)
        check_finite("the derivative by the logits", slope, done)
        parts.append(slope)
        done += len(z)
    return torch.cat(parts)
