"""The Gauss-Newton matrix of all classes as rows: one for the label, some for the other classes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import softplus

from headwater import targets
from headwater.batches import Batch, batch_size, to_device
from headwater.checks import check_positive
from headwater.curvature.curvature import Curvature
from headwater.curvature.operator import ROWS
from headwater.curvature.outer_products import MarginGaussNewton
from headwater.curvature.row_operator import KeptBlocks, RowOperator
from headwater.curvature.sampled_labels import bound_logits, check_cross_entropy, draw_classes
from headwater.gradients import GradientCapture, Gradients, concatenate
from headwater.gradients.packing import packed, unpacked
from headwater.gradients.source import GradientSource
from headwater.hashing import uniform
from headwater.labels import IGNORED, position_labels, with_labels
from headwater.memory import check_memory
from headwater.task import AttributionTask, BoundModel, SampleFunction

Label = Literal["loss", "margin"]


@dataclass(frozen=True)
class ClassGaussNewton(Curvature):
    """C = (1/n) Σ_i [p_y g_iy g_iyᵀ + ((1-p_y)/S) Σ_s g_ic g_icᵀ], c drawn from the other classes.

    g_ic = ∇(-log p_c) at sample i. For softmax and cross-entropy Σ_c p_c g_ic g_icᵀ is the Gauss-Newton
    matrix; the label's own term is exact, because the loss gradients are its rows, and the others are
    drawn S times with probability p_c / (1-p_y), so that the expectation is the whole matrix; or all
    of them are taken, with weight p_c. Of the n(1 + S) rows those of other classes are captured once,
    and kept in memory with the state.

    The label's row is along the margin's gradient, g_iy = -(1-p_y) ∇m_i, which does not vanish where a
    sample has been learned: from margins the weights of samples can be averaged.

    Args:
        draws: S; None: all other classes, whose number must be given.
        classes: the number of classes, where all are taken.
        seed: of the draws, which do not depend on how the data is batched.
        label: the gradients that the label's rows are made of, of the "loss" or the "margin".

    Reference:
        Martens, New Insights and Perspectives on the Natural Gradient Method, JMLR 2020.
    """

    draws: int | None = 1
    classes: int | None = None
    seed: int = 0
    label: Label = "loss"
    offers = frozenset({ROWS})

    def __post_init__(self) -> None:
        if (self.draws is None) == (self.classes is None):
            raise ValueError(
                "ClassGaussNewton needs draws, or draws=None and the number of classes, got "
                f"draws={self.draws} and classes={self.classes}"
            )
        check_positive("the draws of other classes", self.rows_per_sample - 1)
        check_positive("seed", self.seed, allow_zero=True)
        if self.label not in get_args(Label):
            raise ValueError(f"label must be one of loss, margin, got {self.label!r}")

    @property
    def rows_per_sample(self) -> int:  # type: ignore[override]
        """The label's and those of the other classes."""
        return self.classes or 1 + (self.draws or 0)

    def function(self, task: AttributionTask) -> SampleFunction:
        """Return the loss, or the margin."""
        return targets.margin if self.label == "margin" else task.loss

    def loss_scale(self, values: Tensor) -> Tensor:
        """Return 1, or -(1-p) for margins."""
        if self.label == "loss":
            return super().loss_scale(values)
        return MarginGaussNewton().loss_scale(values)

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:
        """Refuse a loss that is no cross-entropy of (inputs, labels), or other classes than given."""
        causal = check_cross_entropy(model, task.loss, batch) != targets.cross_entropy
        found = _of_samples(model, to_device(batch, model.device), causal)[0].shape[1]
        if self.draws is None and found != self.classes:
            raise ValueError(
                f"classes must be the number of the model's logits, {found}, got {self.classes}"
            )

    def estimate(self, source: GradientSource) -> Mapping[str, Tensor]:
        """Return the gradients of the other classes, and their √(weight), (n · S,)."""
        rows: list[Gradients] = []
        weights: list[Tensor] = []
        capture = GradientCapture(source.model, targets.cross_entropy)
        losses, done = self._losses(source.values().to(torch.float64)), 0
        for given in source.batches:
            batch, n = to_device(given, source.model.device), batch_size(given)
            shape = position_labels(batch).shape
            for chosen in self._other_labels(source.model, batch, done):
                rows.append(capture(with_labels(batch, chosen.view(shape)), first_row=done))
                if len(rows) == 1:
                    others = self.rows_per_sample - 1
                    needed = 2 * others * rows[0].nbytes * source.n // max(1, n)
                    what = "a gradient for each draw of another class"
                    advice = "use fewer draws, or GaussNewton with ConjugateGradient"
                    check_memory(what, needed, advice, rows[0].device)
                if self.draws is None:
                    weight = torch.exp(-rows[-1].values.to(torch.float64))
                else:  # 1 - p_y, shared by the draws
                    weight = -torch.expm1(-losses[done : done + n]) / self.draws
                weights.append(weight.clamp_min(0.0))
            done += n
        return {**packed(concatenate(rows), "others"), "other_weights": torch.cat(weights).sqrt()}

    def operator(self, source: GradientSource, estimated: Mapping[str, Tensor]) -> RowOperator:
        """Return the operator whose first n rows are those of the training gradients."""
        rows = KeptBlocks((unpacked(estimated, "others"),), after=source)
        values = source.values().to(torch.float64)
        own = torch.exp(-0.5 * self._losses(values)) * self.loss_scale(values).abs()
        # The operator takes the mean over n(1 + S) rows, C that over n.
        scale = self.rows_per_sample**0.5 * torch.cat([own, estimated["other_weights"]])
        # Products with a training gradient are those with its row, divided by its scale.
        budget = source.task.memory_budget // 4
        return RowOperator(rows, scale.clamp_min(1e-150), source.n, budget)

    def _losses(self, values: Tensor) -> Tensor:
        """Return -log p_y, from losses or margins."""
        return softplus(-values) if self.label == "margin" else values

    def _other_labels(self, model: BoundModel, batch: Batch, first_row: int) -> Iterator[Tensor]:
        """Yield one other class per sample, (n,): the s-th, or drawn with probability p_c / (1-p_y)."""
        logits, labels = _of_samples(model, batch)
        known = labels != IGNORED
        others = logits.scatter(1, labels.where(known, 0)[:, None], -torch.inf)
        samples = torch.arange(first_row, first_row + len(labels), device=labels.device)
        for s in range(self.rows_per_sample - 1):
            if self.draws is None:
                chosen = s + (labels <= s).to(labels.dtype)
            else:
                chosen = draw_classes(others, uniform([self.seed, s], samples))
            yield chosen.where(known, IGNORED)


def _of_samples(model: BoundModel, batch: Batch, causal: bool = False) -> tuple[Tensor, Tensor]:
    """Return logits (n, C) and labels (n,); refuse more than one label per sample."""
    logits, labels = bound_logits(model, batch, causal)
    if labels.shape[1] != 1:
        raise ValueError(
            "ClassGaussNewton needs one label per sample, got sequences of "
            f"{labels.shape[1]} positions; use GaussNewton"
        )
    return logits[:, 0], labels[:, 0]
