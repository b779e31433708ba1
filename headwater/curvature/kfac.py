"""K-FAC and EK-FAC: the Fisher matrix of each weight in a Kronecker product of two eigenbases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import add
from typing import Literal, get_args

import torch
from torch import Tensor

from headwater.batches import Batch, batch_size
from headwater.curvature.curvature import Curvature
from headwater.curvature.kronecker_operator import KroneckerBlock, KroneckerOperator
from headwater.curvature.operator import EIGENBASIS
from headwater.curvature.sampled_labels import check_cross_entropy, sampled_batches
from headwater.gradients import GradientCapture, Gradients, Matrix, Moments, Outer, Rows, Term
from headwater.gradients.source import GradientSource
from headwater.memory import check_memory
from headwater.task import AttributionTask, BoundModel

Labels = Literal["sampled", "empirical"]
Sharing = Literal["expand", "reduce"]


@dataclass(frozen=True)
class KFAC(Curvature):
    """C = S ⊗ A for each weight: inputs and output gradients as if they were independent.

    With a_it the inputs (the bias as one more that is 1) and e_it the output gradients of sample i at
    its position t, a token, a pixel or one of several calls,

    - sharing "expand": A = (1/N) Σ_it a_it a_itᵀ over all N positions, S = (1/n) Σ_it e_it e_itᵀ: C
      would be exact if positions were samples whose a and e are independent;
    - sharing "reduce": A = (1/n) Σ_i ā_i ā_iᵀ, S = (1/n) Σ_i ē_i ē_iᵀ with ā_i = (1/T_i) Σ_t a_it and
      ē_i = Σ_t e_it over the T_i positions of a sample: exact where positions are averaged.

    Positions that no output gradient reaches, such as padding, do not count. The inputs of an embedding
    are one-hot: A is the diagonal of token frequencies (expanded, whatever the sharing). All other
    parameters (norms, scalars, an embedding that is an output layer too) get the diagonal of their
    Fisher matrix, the mean of their squared gradients. Cost: two passes over the gradients at most, one
    eigendecomposition per factor. Use the solver `Eigenbasis` with it.

    Args:
        labels: "sampled", gradients of -log p_y with labels y drawn from the model, for batches (inputs,
            labels) with a cross-entropy loss: C stands for the Fisher matrix; or "empirical", the
            training gradients, for any loss.
        draws: labels drawn per sample.
        seed: of the draws; the label of sample i does not depend on the batches.
        sharing: what the positions of a sample are, "expand" or "reduce".

    Reference:
        Martens and Grosse, Optimizing Neural Networks with Kronecker-factored Approximate
        Curvature, ICML 2015. Eschenhagen et al., Kronecker-Factored Approximate Curvature for
        Modern Neural Network Architectures, NeurIPS 2023.
    """

    labels: Labels = "sampled"
    draws: int = 1
    seed: int = 0
    sharing: Sharing = "expand"
    offers = frozenset({EIGENBASIS})

    def __post_init__(self) -> None:
        for name, choices in (("labels", Labels), ("sharing", Sharing)):
            given, allowed = getattr(self, name), get_args(choices)
            if given not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")
        for name, least in (("draws", 1), ("seed", 0)):
            if (number := getattr(self, name)) < least:
                raise ValueError(f"{name} must be >= {least}, got {number}")

    def check(self, model: BoundModel, task: AttributionTask, batch: Batch) -> None:
        """Refuse sampled labels for a loss that is no cross-entropy of (inputs, labels)."""
        if self.labels == "sampled":
            check_cross_entropy(model, task.loss, batch)

    def estimate(self, source: GradientSource) -> Mapping[str, Tensor]:
        """Return bases and eigenvalues of all weights, and the diagonals of all other groups."""
        return eigenbases(self.gradients(source), self.sharing == "reduce").tensors()

    def operator(
        self, source: GradientSource, estimated: Mapping[str, Tensor]
    ) -> KroneckerOperator:
        """Return C from what `estimate` returned."""
        scheme = GradientCapture(source.model, source.task.loss).scheme
        return KroneckerOperator.from_tensors(estimated, scheme)

    def gradients(self, source: GradientSource) -> Iterator[Gradients]:
        """Yield the gradients that C is made of, with their factors, batch by batch."""
        if self.labels == "empirical":
            yield from source.factor_blocks()
            return
        model, done = source.model, 0
        loss = check_cross_entropy(model, source.task.loss, next(iter(source.batches)))
        capture = GradientCapture(model, loss, keep_factors=True)
        for batch in source.batches:
            for drawn in sampled_batches(model, batch, self.draws, self.seed, done, loss):
                yield capture(drawn, first_row=done)
            done += batch_size(batch)


@dataclass(frozen=True)
class EKFAC(KFAC):
    """K-FAC's eigenvectors with the true second moments along them: Λ = (1/n) Σ_i (Q_Sᵀ ∇_i Q_A)².

    Of all matrices with these eigenvectors it is the one nearest to the Fisher matrix of the layer
    in the Frobenius norm. The arguments are those of `KFAC`; the sharing is that of the factors whose
    eigenvectors are taken.

    Reference:
        George et al., Fast Approximate Natural Gradient Descent in a Kronecker-factored Eigenbasis,
        NeurIPS 2018. Grosse et al., Studying Large Language Model Generalization with Influence
        Functions, 2023.
    """

    def estimate(self, source: GradientSource) -> Mapping[str, Tensor]:
        """Return bases and eigenvalues of all weights, and the diagonals of all other groups."""
        operator = self.operator(source, super().estimate(source))
        known, n = operator.blocks, 0
        sums = [torch.zeros_like(block.eigenvalues, dtype=torch.float64) for block in known]
        for gradients in self.gradients(source):
            for total, block, term in zip(sums, known, gradients.terms, strict=True):
                total.add_(block.rotate(term).sum_of_squares().view_as(total))
            n += len(gradients)
        spectra = [(total / n).to(operator.dtype) for total in sums]
        made = (replace(b, eigenvalues=found) for b, found in zip(known, spectra, strict=True))
        return KroneckerOperator(operator.scheme, tuple(made)).tensors()


def eigenbases(blocks: Iterable[Gradients], reduce: bool = False) -> KroneckerOperator:
    """Return K-FAC of gradients with their factors: eigenvectors of A and S, Λ the product of spectra.

    ValueError if there are none, MemoryError if the factors would not fit.
    """
    sums: list[_Sums] = []
    scheme, n = None, 0
    for block in blocks:
        if scheme is None:
            scheme, sums = block.scheme, [_Sums() for _ in block.terms]
            _check_size(block)
        for total, term in zip(sums, block.terms, strict=True):
            total.add(term, reduce)
        n += len(block)
    if scheme is None:
        raise ValueError("Kronecker factors need training samples, got none")
    named = zip(scheme.names, sums, strict=True)
    return KroneckerOperator(scheme, tuple(total.block(name, n) for name, total in named))


@dataclass
class _Sums:
    """What is summed over the samples for one group: second moments, or squared gradients."""

    matrix: Matrix | None = None
    dtype: torch.dtype = torch.float64
    moments: Moments | None = None
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, term: Term, reduce: bool) -> None:
        self.matrix, self.dtype = self.matrix or term.matrix, term.dtype
        moments = term.moments(reduce)
        if moments is None:
            self.squares = self.squares + term.sum_of_squares()
        elif self.moments is None:
            self.moments = moments
        else:
            self.moments = Moments(*map(add, self.moments, moments))

    def block(self, name: str, n: int) -> KroneckerBlock:
        """Return the curvature of the group; refuse it if some of its gradients had factors, some not."""
        if self.moments is None:
            values = (self.squares / n).to(self.dtype)
            if self.matrix is not None:
                values = values.view(self.matrix.d_out, self.matrix.columns)
            return KroneckerBlock(values, self.matrix)
        if bool(self.squares.any()):
            raise ValueError(
                f"Kronecker factors need all gradients of {name} in one form, got some with their "
                "inputs and output gradients and some without; capture them with keep_factors=True"
            )
        # A diagonal A, of one-hot inputs, is its own spectrum, and has the identity as basis.
        inputs, basis = self.moments.inputs / max(1, self.moments.positions), None
        if inputs.ndim == 2:
            inputs, basis = _descending(inputs)
        outputs, other = _descending(self.moments.outputs / n)
        found = torch.outer(outputs, inputs).to(self.dtype)
        basis = None if basis is None else basis.to(self.dtype)
        return KroneckerBlock(found, self.matrix, basis, other.to(self.dtype))


def _check_size(block: Gradients) -> None:
    outer = [term.matrix for term in block.terms if isinstance(term, Outer)]
    tables = [term.matrix for term in block.terms if isinstance(term, Rows)]
    numbers = sum(m.d_out**2 + m.columns**2 for m in outer)
    numbers += sum(m.d_out**2 + m.columns for m in tables)
    what = "a pair of Kronecker factors for each weight"
    advice = "leave out layers of many inputs or outputs with layers="
    check_memory(what, 4 * 8 * numbers, advice, block.device)


def _descending(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, the largest first and none negative, and eigenvectors as columns."""
    values, vectors = torch.linalg.eigh((moment + moment.T) / 2)
    return values.flip(0).clamp_min(0.0), vectors.flip(1).contiguous()
