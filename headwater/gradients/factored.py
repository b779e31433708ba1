"""Gradients kept as factors: exact, and never as large as the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from headwater.gradients.dense import DenseGradients
from headwater.gradients.gradients import Gradients
from headwater.gradients.linear import WORKSPACE, LinearFactors
from headwater.parameters import ParameterLayout
from headwater.projections import GradientProjection, LayerwiseProjection

__all__ = ["FactoredGradients", "GradientScheme", "LinearLayer"]


@dataclass(frozen=True)
class LinearLayer:
    """A Linear module whose gradients are kept as factors.

    Args:
        name: the module's name.
        weight: the name of its weight.
        bias: the name of its bias, None if it has none or it is not selected.
    """

    name: str
    weight: str
    bias: str | None


@dataclass(frozen=True)
class GradientScheme:
    """Which parameters are factored, and which are kept as dense columns.

    Args:
        layout: the order of all parameters in a dense gradient.
        layers: the factored layers.
    """

    layout: ParameterLayout
    layers: tuple[LinearLayer, ...]

    @property
    def rest(self) -> tuple[str, ...]:
        """The parameters that are kept dense, in the layout's order."""
        factored = {name for layer in self.layers for name in (layer.weight, layer.bias)}
        return tuple(name for name in self.layout.names if name not in factored)

    @property
    def by_layer(self) -> tuple[GradientScheme, ...]:
        """One scheme a layer: the factored ones, then the modules of the dense columns."""
        shapes = dict(self.layout.shapes)
        groups = [tuple(n for n in (x.weight, x.bias) if n is not None) for x in self.layers]
        modules = dict.fromkeys(name.rpartition(".")[0] for name in self.rest)
        groups += [tuple(n for n in self.rest if n.rpartition(".")[0] == m) for m in modules]
        return tuple(
            GradientScheme(
                ParameterLayout(tuple((name, shapes[name]) for name in names)),
                self.layers[i : i + 1],
            )
            for i, names in enumerate(groups)
        )

    @property
    def rest_layout(self) -> ParameterLayout:
        """The order of the dense columns."""
        shapes = dict(self.layout.shapes)
        return ParameterLayout(tuple((name, shapes[name]) for name in self.rest))


class FactoredGradients(Gradients):
    """Per layer the inputs a and the output gradients e; the other parameters as dense columns.

    ⟨∇f_i, ∇f_j⟩ = Σ_layers Σ_st (a_is·a_jt + 1)(e_is·e_jt) + ⟨rest_i, rest_j⟩.

    Args:
        scheme: which parameter is where.
        layers: the factors of each factored layer, in the scheme's order.
        rest: dense columns of the other parameters, (n, q).
        values: f_i at the samples, (n,).
    """

    def __init__(
        self,
        scheme: GradientScheme,
        layers: tuple[LinearFactors, ...],
        rest: Tensor,
        values: Tensor,
    ) -> None:
        self.scheme, self.layers, self.rest, self.values = scheme, layers, rest, values

    @property
    def dimension(self) -> int:
        """The number p of parameters."""
        return self.scheme.layout.size

    def inner(self, other: Gradients) -> Tensor:
        """Return ⟨∇f_i, ∇f'_j⟩, (n, m), without forming a gradient where factors are cheaper."""
        if isinstance(other, DenseGradients):
            return self._inner_dense(other.vectors)
        if not isinstance(other, FactoredGradients) or other.scheme != self.scheme:
            raise ValueError(
                "inner products need gradients of the same parameters, got "
                f"{self.dimension} and {other.dimension} of them in different layers; "
                "capture both with the same model and layers"
            )
        total = self.rest @ other.rest.T
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.add_inner(theirs, total)
        return total

    def _inner_dense(self, vectors: Tensor) -> Tensor:
        slices = self.scheme.layout.slices
        if vectors.shape[1] != self.dimension:
            raise ValueError(
                f"vectors must have {self.dimension} columns, got {vectors.shape[1]}; "
                "projected and whole gradients cannot be mixed"
            )
        total = vectors.new_zeros(len(self), len(vectors))
        for name, columns in self.scheme.rest_layout.slices.items():
            total += self.rest[:, columns] @ vectors[:, slices[name]].T
        for layer, factors in zip(self.scheme.layers, self.layers, strict=True):
            total += factors.inner_dense(self._columns_of(layer, vectors))
        return total

    def _columns_of(self, layer: LinearLayer, vectors: Tensor) -> Tensor:
        """Return what vectors (m, p) hold of a layer, (m, width): a view where bias follows weight."""
        slices = self.scheme.layout.slices
        weight = slices[layer.weight]
        if layer.bias is None:
            return vectors[:, weight]
        bias = slices[layer.bias]
        if weight.stop == bias.start:
            return vectors[:, weight.start : bias.stop]
        return torch.cat([vectors[:, weight], vectors[:, bias]], 1)

    def squared_norms(self) -> Tensor:
        """Return ‖∇f_i‖², (n,)."""
        total = self.rest.square().sum(1)
        for factors in self.layers:
            total = total + factors.squared_norms()
        return total

    def dense(self) -> Tensor:
        """Return the gradients as vectors in the layout's order, (n, p)."""
        slices = self.scheme.layout.slices
        out = self.rest.new_empty(len(self), self.dimension)
        for name, columns in self.scheme.rest_layout.slices.items():
            out[:, slices[name]] = self.rest[:, columns]
        for layer, factors in zip(self.scheme.layers, self.layers, strict=True):
            both, weight = factors.dense(), slices[layer.weight]
            split = weight.stop - weight.start
            out[:, weight] = both[:, :split]
            if layer.bias is not None:
                out[:, slices[layer.bias]] = both[:, split:]
        return out

    def columns(self, start: int, stop: int) -> Tensor:
        """Return some columns of `dense`, (n, stop - start); no others are ever computed."""
        rest, found = self.scheme.rest_layout.slices, []
        for name, whole in self.scheme.layout.slices.items():
            first, last = max(start, whole.start), min(stop, whole.stop)
            if first >= last:
                continue
            if name in rest:
                shift = rest[name].start - whole.start
                found.append(self.rest[:, first + shift : last + shift])
            else:
                factors, offset = self._factors_of(name)
                shift = offset - whole.start
                found.append(factors.columns(first + shift, last + shift))
        return torch.cat(found, 1)

    def entries(self, coordinates: Tensor) -> Tensor:
        """Return some columns of `dense`, given by ascending coordinates (k,), shape (n, k)."""
        rest, found = self.scheme.rest_layout.slices, [self.rest[:, :0]]
        for name, whole in self.scheme.layout.slices.items():
            inside = (coordinates >= whole.start) & (coordinates < whole.stop)
            within = coordinates[inside] - whole.start
            if name in rest:
                found.append(self.rest[:, within + rest[name].start])
            else:
                factors, offset = self._factors_of(name)
                found.append(factors.entries(within + offset))
        return torch.cat(found, 1)

    def _factors_of(self, name: str) -> tuple[LinearFactors, int]:
        """Return the factors of a weight or bias, and where it starts in their dense gradient."""
        for layer, factors in zip(self.scheme.layers, self.layers, strict=True):
            if name == layer.weight:
                return factors, 0
            if name == layer.bias:
                return factors, factors.width - int(factors.errors.shape[2])
        raise KeyError(name)

    def dense_blocks(self, workspace: int = 2 * WORKSPACE) -> Iterator[Tensor]:
        """Yield `dense` a few samples at a time, so that memory does not grow with n."""
        rows = max(1, workspace // max(1, self.dimension))
        for i in range(0, len(self), rows):
            yield self[i : i + rows].dense()

    def layer_columns(self) -> list[list[slice]]:
        """Return where each layer's parameters lie in a dense gradient."""
        slices = self.scheme.layout.slices
        return [[slices[name] for name in part.layout.names] for part in self.scheme.by_layer]

    def by_layer(self) -> list[Gradients]:
        """Return the gradients of each layer on its own: a Linear's weight and bias are one layer."""
        columns, parts = self.scheme.rest_layout.slices, list[Gradients]()
        for i, scheme in enumerate(self.scheme.by_layer):
            own = [self.rest[:, columns[name]] for name in scheme.rest]
            rest = torch.cat([self.rest[:, :0], *own], 1)
            parts.append(FactoredGradients(scheme, self.layers[i : i + 1], rest, self.values))
        return parts

    def tensors(self) -> dict[str, Tensor]:
        """Return ``<layer>.inputs``, ``<layer>.errors``, ``rest`` and ``values``."""
        found = {"values": self.values, "rest": self.rest}
        for layer, factors in zip(self.scheme.layers, self.layers, strict=True):
            found[f"{layer.name}.inputs"] = factors.inputs
            found[f"{layer.name}.errors"] = factors.errors
        return found

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> FactoredGradients:
        """Return gradients of the same scheme made of other tensors."""
        layers = tuple(
            LinearFactors(
                tensors[f"{layer.name}.inputs"],
                tensors[f"{layer.name}.errors"],
                layer.bias is not None,
            )
            for layer in self.scheme.layers
        )
        return FactoredGradients(self.scheme, layers, tensors["rest"], tensors["values"])

    def project(self, projection: GradientProjection) -> DenseGradients:
        """Return P∇f_i, (n, k); where the projection is layer-wise, with its blocks."""
        blocks = projection.of_factors(self)
        sizes: tuple[int, ...] = ()
        if isinstance(projection, LayerwiseProjection):
            sizes = tuple(int(block.shape[1]) for block in blocks)
        vectors = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 1)
        return DenseGradients(vectors, self.values, sizes)
