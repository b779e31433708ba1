"""K-FAC and EK-FAC: the Fisher matrix of each Linear layer in a Kronecker eigenbasis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from torch import Tensor

from headwater.batches import Batch
from headwater.curvature.curvature import Curvature, TrainingData
from headwater.curvature.kronecker_factors import corrected, eigenbases
from headwater.curvature.kronecker_operator import KroneckerOperator
from headwater.curvature.operator import EIGENBASIS
from headwater.curvature.sampled_labels import check_cross_entropy, sampled_gradients
from headwater.gradients import Gradients
from headwater.task import AttributionTask, BoundModel

__all__ = ["EKFAC", "KFAC"]

Labels = Literal["sampled", "empirical"]


@dataclass(frozen=True)
class KFAC(Curvature):
    """C = A ⊗ S for each Linear layer: inputs and output gradients as if they were independent.

    A = (1/N) Σ_i Σ_t a_it a_itᵀ over all N positions t of all samples (N = n where a layer is called
    once on vectors), the bias as one more input that is 1;  S = (1/n) Σ_i Σ_t e_it e_itᵀ. This is the
    "expand" convention for sequences and shared layers: C would be exact if positions were samples
    whose inputs and errors are independent. Layers do not interact. Parameters outside of factored
    Linear layers (convolutions, norms, embeddings, tied weights) get the diagonal of their Fisher
    matrix, the mean of their squared gradients.

    The gradients are those of -log p_y with labels y drawn from the model (the Fisher matrix, which
    is the Gauss-Newton matrix of cross-entropy), or the training gradients (the empirical Fisher).
    Cost: two passes over the gradients at most, one eigendecomposition a factor. Use the solver
    `Eigenbasis` with it.

    Args:
        labels: "sampled", for batches (inputs, labels) with a cross-entropy loss, or "empirical",
            for any loss.
        draws: labels drawn a sample.
        seed: of the draws; the label of sample i does not depend on the batches.

    Raises:
        ValueError: if an argument is out of range, or sampled labels do not fit the loss.

    Reference:
        Martens and Grosse, Optimizing Neural Networks with Kronecker-factored Approximate
        Curvature, ICML 2015. Eschenhagen et al., Kronecker-Factored Approximate Curvature for
        Modern Neural Network Architectures, NeurIPS 2023.

    Example:
        >>> KFAC(labels="empirical")
        KFAC(labels='empirical', draws=1, seed=0)
    """

    labels: Labels = "sampled"
    draws: int = 1
    seed: int = 0
    offers: ClassVar[frozenset[str]] = frozenset({EIGENBASIS})

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.labels not in get_args(Labels):
            known = ", ".join(get_args(Labels))
            raise ValueError(f"labels must be one of {known}, got {self.labels!r}")
        if self.draws < 1:
            raise ValueError(f"draws must be >= 1, got {self.draws}")
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:
        """Refuse sampled labels for a loss that is no cross-entropy of (inputs, labels)."""
        if self.labels == "sampled":
            check_cross_entropy(model, task.loss, batch)

    def estimate(self, source: TrainingData) -> Mapping[str, Tensor]:
        """Return the bases and eigenvalues of all layers, and the diagonal of the rest."""
        return eigenbases(self._gradients(source)).tensors()

    def operator(self, source: TrainingData, estimated: Mapping[str, Tensor]) -> KroneckerOperator:
        """Return C from what `estimate` returned."""
        return KroneckerOperator.from_tensors(estimated, source.model.layout, source.model.module)

    def _gradients(self, source: TrainingData) -> Iterator[Gradients]:
        if self.labels == "empirical":
            return source.train_blocks()
        self.check(source.model, source.task, next(iter(source.batches)))
        return sampled_gradients(source.model, source.batches, self.draws, self.seed)


@dataclass(frozen=True)
class EKFAC(KFAC):
    """K-FAC's eigenvectors with the true second moments along them: Λ = (1/n) Σ_i (Q_Sᵀ ∇_i Q_A)².

    Of all matrices with these eigenvectors it is the one nearest to the Fisher matrix of the layer
    in the Frobenius norm, and so never further from it than K-FAC. With one sample called on one
    position, and wherever the errors do not depend on the sample, it is that Fisher matrix.

    Args:
        labels: "sampled", for batches (inputs, labels) with a cross-entropy loss, or "empirical",
            for any loss.
        draws: labels drawn a sample.
        seed: of the draws; the label of sample i does not depend on the batches.

    Raises:
        ValueError: if an argument is out of range, or sampled labels do not fit the loss.

    Reference:
        George et al., Fast Approximate Natural Gradient Descent in a Kronecker-factored Eigenbasis,
        NeurIPS 2018. Grosse et al., Studying Large Language Model Generalization with Influence
        Functions, 2023.

    Example:
        >>> EKFAC(draws=2)
        EKFAC(labels='sampled', draws=2, seed=0)
    """

    def estimate(self, source: TrainingData) -> Mapping[str, Tensor]:
        """Return the bases and eigenvalues of all layers, and the diagonal of the rest."""
        operator = eigenbases(self._gradients(source))
        return corrected(operator, self._gradients(source)).tensors()
