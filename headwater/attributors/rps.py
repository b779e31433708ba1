"""Representer points: a prediction as a sum over training samples, in the last layer."""

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from headwater.attributors.feature_attributor import Describe, FeatureAttributor, described
from headwater.attributors.features import FeatureReader, Features, values_at
from headwater.attributors.method import Rows
from headwater.attributors.softmax_regression import fit_softmax
from headwater.batches import Batch
from headwater.checks import check_finite, check_positive
from headwater.gradients.source import GradientSource
from headwater.memory import LARGE, row_blocks
from headwater.solvers import State
from headwater.task import AttributionTask, SampleFunction

__all__ = ["RPS"]


class RPS(FeatureAttributor):
    """Write the logits as a sum over training samples, after a refit of the last layer with L2.

    Θ* = argmin (1/n) Σ_i CE(q_i, softmax(Θ x_i)) + λ‖Θ‖², x the input of the last Linear layer (and
    a 1 for its bias). At this point z_j = Θ* x_j = Σ_i α_i ⟨x_i, x_j⟩, α_i = -(1/2λn) ∂CE_i/∂z_i, so
    sample i adds to the target scores[i, j] = ⟨∂f_j/∂z_j, α_i⟩ ⟨x_i, x_j⟩, in the unit of f to first
    order. Self-influence: what i takes from its own loss, -⟨∂ℓ_i/∂z_i, α_i⟩‖x_i‖².

    q are the model's own predictions, and self-influence may be negative; or they are the labels:
    P = I/(2λn) in the formula of all methods, and self-influence is ‖∇ℓ_i‖²/(2λn) ≥ 0. Cost: one forward
    pass, and a convex problem in C(d + 1) numbers that Newton's method solves.

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

    def check(self, source: GradientSource, batch: Batch) -> None:
        """Refuse a loss that is not the cross-entropy of the output of the layer."""
        found = FeatureReader(source.model, self.task.loss, self.layer)(batch)
        self._label_probabilities(source, batch, found)

    def describer(self, source: GradientSource) -> Describe:
        """Keep {"features": x, "labels": q of the loss, "teacher": the q of the refit}, in float64."""
        read = FeatureReader(source.model, self.task.loss, self.layer)

        def describe(batch: Batch) -> Mapping[str, Tensor]:
            found = read(batch)
            labels = self._label_probabilities(source, batch, found)
            own = found.outputs.to(torch.float64).softmax(1)
            teacher = labels if self.fit == "labels" else own
            return {"features": self._rows(found), "labels": labels, "teacher": teacher}

        return describe

    def summary(self, source: GradientSource, samples: dict[str, Tensor]) -> State:
        """Return the features and labels, "alpha": α, "weight": Θ* and "gradient_norm": ‖∇‖ there."""
        x, teacher = samples["features"], samples["teacher"]
        fitted = fit_softmax(x, teacher, self.l2)
        alpha = (teacher - (x @ fitted.weight.T).softmax(1)) / (2 * self.l2 * len(x))
        norm = torch.tensor(fitted.gradient_norm, dtype=torch.float64)
        kept = {"features": x, "labels": samples["labels"], "alpha": alpha}
        return {**kept, "weight": fitted.weight, "gradient_norm": norm}

    def solve(self, source: GradientSource, state: State) -> State:
        """Add the test features x_j and ∂f_j/∂z_j at the refitted logits."""
        read, target = FeatureReader(source.model, self.task.loss, self.layer), self.task.target

        def describe(batch: Batch) -> Mapping[str, Tensor]:
            found = read(batch)
            x = self._rows(found)
            slopes = _slopes(source, target, batch, found, x @ state["weight"].T)
            return {"test_features": x, "test_slopes": slopes}

        (test,) = described([describe], source.test_batches, source.device)
        return {"features": state["features"], "alpha": state["alpha"], **test}

    def score(self, source: GradientSource, solved: State) -> Iterator[Rows]:
        """Yield ⟨∂f_j/∂z_j, α_i⟩⟨x_i, x_j⟩."""
        x, slopes, alpha = solved["test_features"], solved["test_slopes"], solved["alpha"]
        for rows in row_blocks(len(alpha), len(x), x.device, numbers=LARGE):
            kernel = solved["features"][rows] @ x.T
            yield rows, kernel.mul_(alpha[rows] @ slopes.T)

    def self_score(self, source: GradientSource, state: State) -> Tensor:
        """Return -⟨∂ℓ_i/∂z_i, α_i⟩‖x_i‖², with ∂ℓ/∂z = softmax(z) - q."""
        x = state["features"]
        slopes = (x @ state["weight"].T).softmax(1) - state["labels"]
        return -(slopes * state["alpha"]).sum(1) * x.square().sum(1)

    def _rows(self, found: Features) -> Tensor:
        x = found.inputs.to(torch.float64)
        if self.normalize:
            x = normalize(x, dim=1)
        return torch.cat([x, torch.ones_like(x[:, :1])], 1) if found.bias else x

    def _label_probabilities(self, source: GradientSource, batch: Batch, found: Features) -> Tensor:
        """Return q = softmax(z) - ∂ℓ/∂z of a cross-entropy, the same at every z, (n, C)."""
        z = found.outputs.to(torch.float64)
        at_zero, at_own = (
            logits.softmax(1) - _slopes(source, self.task.loss, batch, found, logits)
            for logits in (torch.zeros_like(z), z)
        )
        if not torch.allclose(at_zero, at_own, atol=1e-4) or bool((at_zero < -1e-4).any()):
            raise ValueError(
                f"the loss must be the cross-entropy of the output of the layer {found.layer!r}, got "
                "another function of it; name the layer that makes the logits with layer="
            )
        return at_zero


def _slopes(
    source: GradientSource, function: SampleFunction, batch: Batch, found: Features, outputs: Tensor
) -> Tensor:
    """Return ∂f_i/∂z_i with the outputs of the layer replaced, (n, C)."""
    z = outputs.detach().requires_grad_()
    with torch.enable_grad():
        values = values_at(source.model, function, batch, found.layer, z)
        # 0 · z: a function that does not depend on the logits has slope 0, and is no error.
        (slope,) = torch.autograd.grad(values.sum() + 0.0 * z.sum(), z)
    check_finite("the derivative by the logits", slope, found.first_row)
    return slope
