"""A block-diagonal matrix with one eigenbasis a Linear layer: Q diag(Λ) Qᵀ, Q = Q_S ⊗ Q_A."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headwater.curvature.operator import LinearOperator
from headwater.gradients import GradientScheme, LinearFactors, LinearLayer
from headwater.parameters import ParameterLayout

__all__ = ["KroneckerBlock", "KroneckerOperator", "rotate"]

PREFIX = "kronecker."
DIAGONAL = f"{PREFIX}diagonal"


def rotate(factors: LinearFactors, inputs: Tensor, errors: Tensor) -> LinearFactors:
    """Return the factors in the bases of a layer: Q_Sᵀ (Σ e aᵀ) Q_A = Σ (Q_Sᵀe)(Q_Aᵀa)ᵀ.

    The bias is one more input that is always 1, the last row of the inputs' basis.

    Args:
        factors: a (n, T, d_in), e (n, T, d_out), with or without bias.
        inputs: columns of Q_A, (d_in (+ 1), k).
        errors: columns of Q_S, (d_out, l).

    Returns:
        Factors (n, T, k) and (n, T, l) without bias.
    """
    a = factors.inputs @ inputs[: factors.inputs.shape[2]]
    if factors.bias:
        a += inputs[-1]
    return LinearFactors(a, factors.errors @ errors, False)


@dataclass(frozen=True)
class KroneckerBlock:
    """The curvature of one Linear layer, in its eigenbasis.

    Args:
        layer: the layer.
        inputs: Q_A, one eigenvector a column, (d_in (+ 1), d_in (+ 1)); the bias comes last.
        errors: Q_S, one eigenvector a column, (d_out, d_out).
        eigenvalues: Λ, (d_out, d_in (+ 1)).
    """

    layer: LinearLayer
    inputs: Tensor
    errors: Tensor
    eigenvalues: Tensor

    def multiply(self, matrices: Tensor, spectrum: Tensor) -> Tensor:
        """Return Q_S ((Q_Sᵀ V Q_A) ∘ spectrum) Q_Aᵀ for each V of (m, d_out, d_in (+ 1))."""
        inside = (self.errors.T @ matrices @ self.inputs).mul_(spectrum)
        return self.errors @ inside @ self.inputs.T


class KroneckerOperator(LinearOperator):
    """C = Q diag(Λ) Qᵀ with Q = Q_S ⊗ Q_A a layer, and a diagonal for all other parameters.

    Args:
        scheme: which parameters are layers, and where all of them lie in a vector.
        blocks: one a layer, in the scheme's order.
        diagonal: the entries of the other parameters, (q,).

    Example:
        >>> layout = ParameterLayout((("weight", (1, 2)),))
        >>> layer = LinearLayer("", "weight", None)
        >>> block = KroneckerBlock(layer, torch.eye(2), torch.eye(1), torch.tensor([[1.0, 3.0]]))
        >>> C = KroneckerOperator(GradientScheme(layout, (layer,)), (block,), torch.zeros(0))
        >>> C.inverse_apply(torch.ones(1, 2), damping=1.0).tolist()
        [[0.5, 0.25]]
    """

    def __init__(
        self, scheme: GradientScheme, blocks: tuple[KroneckerBlock, ...], diagonal: Tensor
    ) -> None:
        self.scheme, self.blocks, self.diagonal = scheme, blocks, diagonal

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], layout: ParameterLayout, module: nn.Module
    ) -> KroneckerOperator:
        """Make it of what `tensors` returned, for a model with this layout."""
        # A file may have sorted its tensors: the order of the layers is that of the modules.
        names = [n for n, _ in module.named_modules() if f"{PREFIX}{n}.eigenvalues" in tensors]
        blocks = tuple(_block(name, tensors, layout) for name in names)
        scheme = GradientScheme(layout, tuple(block.layer for block in blocks))
        return cls(scheme, blocks, tensors[DIAGONAL])

    def tensors(self) -> dict[str, Tensor]:
        """Return ``kronecker.<layer>.inputs``, ``.errors``, ``.eigenvalues`` and the diagonal."""
        found = {DIAGONAL: self.diagonal}
        for block in self.blocks:
            for part in ("inputs", "errors", "eigenvalues"):
                found[f"{PREFIX}{block.layer.name}.{part}"] = getattr(block, part)
        return found

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.scheme.layout.size

    @property
    def dtype(self) -> torch.dtype:
        """That of the gradients it was made of."""
        return self.diagonal.dtype

    @property
    def device(self) -> torch.device:
        """Where the bases are."""
        return self.diagonal.device

    def apply(self, rows: Tensor) -> Tensor:
        """Return C v for each row v, (m, p)."""
        return self._spectral(rows, lambda eigenvalues: eigenvalues)

    def inverse_apply(self, rows: Tensor, damping: float) -> Tensor:
        """Return (C + λI)^-1 v for each row v, (m, p): exact, at the price of a product.

        Args:
            rows: (m, p).
            damping: λ > 0, absolute.
        """
        return self._spectral(rows, lambda eigenvalues: 1.0 / (eigenvalues + damping))

    def _spectral(self, rows: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return Q f(Λ) Qᵀ v for each row v."""
        slices, out = self.scheme.layout.slices, torch.empty_like(rows)
        rest = function(self.diagonal)
        for name, columns in self.scheme.rest_layout.slices.items():
            out[:, slices[name]] = rows[:, slices[name]] * rest[columns]
        for block in self.blocks:
            weight, bias = block.layer.weight, block.layer.bias
            matrices = rows[:, slices[weight]].view(len(rows), len(block.errors), -1)
            if bias is not None:
                matrices = torch.cat([matrices, rows[:, slices[bias]].unsqueeze(2)], 2)
            product = block.multiply(matrices, function(block.eigenvalues))
            if bias is not None:
                out[:, slices[bias]] = product[:, :, -1]
                product = product[:, :, :-1]
            out[:, slices[weight]] = product.flatten(1)
        return out


def _block(name: str, tensors: Mapping[str, Tensor], layout: ParameterLayout) -> KroneckerBlock:
    parts = [tensors[f"{PREFIX}{name}.{part}"] for part in ("inputs", "errors", "eigenvalues")]
    prefix, shapes = (f"{name}." if name else ""), dict(layout.shapes)
    has_bias = len(parts[0]) > shapes[f"{prefix}weight"][1]
    layer = LinearLayer(name, f"{prefix}weight", f"{prefix}bias" if has_bias else None)
    return KroneckerBlock(layer, *parts)
