"""Rows of TRAK and of influence in projected spaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from headwater import targets
from headwater.attributors import TRAK, InfluenceFunction, ProjectedInfluence, RelatIF
from headwater.curvature import EmpiricalFisher, MarginGaussNewton
from headwater.projections import (
    FactGraSS,
    GradientProjection,
    GraSS,
    Kronecker,
    Rademacher,
    SparseJL,
)
from headwater.solvers import ArnoldiProjection, Solver, Woodbury, krylov_basis
from tests import reference, reference_projections
from tests.laws.row import Models, Row, cg, mean, sides
from tests.problems import Problem
from tests.systems import Matrix

Matrices = Callable[[Problem, nn.Module, int], Sequence[Tensor]]
"""The rows of P at one checkpoint, one matrix a block."""


def explicit(projection: GradientProjection, blocks: int = 1) -> Matrices:
    """Return the whole matrix of a projection, cut into blocks."""

    def matrices(problem: Problem, model: nn.Module, c: int) -> Sequence[Tensor]:
        drawn = projection.for_checkpoint(c)
        if isinstance(drawn, (Kronecker, FactGraSS)):
            # This layer's weight is also used outside of it: its gradient does not factor.
            dense = [name for name, _ in model.named_modules() if name == "used"]
            parts = reference_projections.layerwise_matrices(drawn, model, dense)
            return parts if blocks == 0 else [torch.cat(parts)]
        size = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return torch.tensor_split(reference_projections.matrix(drawn, size), blocks)

    return matrices


def learned(projection: ArnoldiProjection) -> Matrices:
    """Return Λ^(-1/2) Vᵀ of the dense Hessian."""

    def matrices(problem: Problem, model: nn.Module, _: int) -> Sequence[Tensor]:
        hessian = reference.hessian(model, problem.loss, problem.train)
        values, vectors = krylov_basis(Matrix(hessian), projection.krylov, projection.seed)
        k = projection.dimension
        return [torch.diag(values[:k] ** -0.5) @ vectors[:k]]

    return matrices


def _coarse(projection: object) -> str | None:
    needed = "ArnoldiProjection needs products with the Hessian of 32 bits at least"
    return needed if isinstance(projection, ArnoldiProjection) else None


def _trak(matrices: Matrices, checkpoints: int = 1, damping: float = 1e-3, **parts) -> Row:
    def twin(problem: Problem, models: Models) -> Tensor:
        products, errors = 0.0, 0.0
        for c, model in enumerate(models):
            train = reference.per_sample_gradients(model, targets.margin, problem.train)
            test = reference.per_sample_gradients(model, targets.margin, problem.test)
            for matrix in matrices(problem, model, c):
                total = damping * problem.n  # the twin adds λ to ΦᵀΦ, as the paper does
                products += reference.trak(train, test, matrix, total) / len(models)
            margins = reference.values(model, targets.margin, problem.train)
            errors += reference.error_probabilities(margins) / len(models)
        return products * errors[:, None]

    return Row(
        TRAK,
        lambda task, order, _: TRAK(task, damping=damping, **parts),
        twin,
        checkpoints=checkpoints,
        margin=True,
        # A random projection belongs to the place of the checkpoint.
        any_order=isinstance(parts["projection"], ArnoldiProjection),
        refuses_coarse=_coarse(parts["projection"]),
    )


def _influence(projection: GradientProjection, blocks: int = 1, damping: float = 1.0) -> Row:
    matrices = explicit(projection, blocks)

    def twin(problem: Problem, model: nn.Module, c: int) -> Tensor:
        train, test = sides(problem, model)
        total = 0.0
        for matrix in matrices(problem, model, c):
            phi, psi = train @ matrix.T, test @ matrix.T
            total += reference.influence(phi, psi, reference.fisher(phi), damping)
        return total

    return Row(
        ProjectedInfluence,
        lambda task, order, _: ProjectedInfluence(task, projection, damping, blocks or "layers"),
        mean(twin),
        checkpoints=2,
        any_order=False,
    )


def _margin(
    solver: Callable[[float], Solver], matrices: Matrices, projection, damping: float = 1.0
) -> Row:
    """Averaged weights, with the Gauss-Newton matrix of projected gradients of the margin."""

    def twin(problem: Problem, models: Models) -> Tensor:
        products, errors = 0.0, 0.0
        for c, model in enumerate(models):
            (matrix,) = matrices(problem, model, c)
            phi, psi = (
                reference.per_sample_gradients(model, targets.margin, batch) @ matrix.T
                for batch in (problem.train, problem.test)
            )
            margins = reference.values(model, targets.margin, problem.train)
            error = reference.error_probabilities(margins)
            curvature = reference.fisher(phi, (error * (1.0 - error)).sqrt())
            products -= reference.influence(phi, psi, curvature, damping) / len(models)
            errors += error / len(models)
        return products * errors[:, None]

    def make(task, order, _) -> InfluenceFunction:
        curvature = MarginGaussNewton()
        return InfluenceFunction(task, solver(damping), curvature, projection, "averaged")

    return Row(
        InfluenceFunction,
        make,
        twin,
        checkpoints=2,
        margin=True,
        any_order=isinstance(projection, ArnoldiProjection),
        refuses_coarse=_coarse(projection),
    )


def _relative(projection: GradientProjection, damping: float = 1.0) -> Row:
    def twin(problem: Problem, model: nn.Module, c: int) -> Tensor:
        (matrix,) = explicit(projection)(problem, model, c)
        phi, psi = (side @ matrix.T for side in sides(problem, model))
        inverse = reference.damped_inverse(reference.fisher(phi), damping)
        return reference.relative_influence(phi, psi, inverse, "loss")

    def make(task, order, _) -> RelatIF:
        return RelatIF(task, Woodbury(damping), EmpiricalFisher(), projection=projection)

    return Row(RelatIF, make, mean(twin), checkpoints=2, any_order=False)


_SIGNS, _KRYLOV = Rademacher(4, seed=3), ArnoldiProjection(4, seed=2, krylov=6)
TABLE = {
    "TRAK-1": _trak(explicit(_SIGNS), projection=_SIGNS),
    "TRAK-3": _trak(explicit(_SIGNS), 3, projection=_SIGNS),
    "TRAK in blocks": _trak(
        explicit(Rademacher(10, seed=3), 2), 2, projection=Rademacher(10, seed=3), blocks=2
    ),
    "TRAK by layers": _trak(
        explicit(Kronecker(2, 2, seed=5), 0), 2, projection=Kronecker(2, 2, seed=5), blocks="layers"
    ),
    "TRAK Arnoldi": _trak(learned(_KRYLOV), 2, projection=_KRYLOV),
    "Projected IF sparse": _influence(SparseJL(8, seed=1, nonzeros=2)),
    "Projected IF GraSS": _influence(GraSS(8, seed=1)),
    "Projected IF Kronecker": _influence(Kronecker(3, 2, seed=1)),
    "Projected IF LoGra": _influence(Kronecker(3, 2, seed=1), blocks=0),
    "Projected IF FactGraSS": _influence(FactGraSS(6, seed=1), blocks=0),
    "IF projected, averaged weights": _margin(Woodbury, explicit(_SIGNS), _SIGNS),
    "IF Arnoldi, averaged weights": _margin(cg, learned(_KRYLOV), _KRYLOV),
    "RelatIF projected": _relative(_SIGNS),
}
