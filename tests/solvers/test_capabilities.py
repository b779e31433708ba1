"""Which solver goes with which curvature: they say it themselves, and influence holds them to it."""

from __future__ import annotations

import pytest
import torch

from headwater.attributors import InfluenceFunction, RelatIF
from headwater.curvature import (
    EKFAC,
    KFAC,
    ClassGaussNewton,
    Curvature,
    EmpiricalFisher,
    ExactHessian,
    GaussNewton,
    MarginGaussNewton,
    MarginKernel,
    curvatures_that_offer,
)
from headwater.solvers import (
    ConjugateGradient,
    DataInf,
    Eigenbasis,
    Explicit,
    Lanczos,
    LiSSA,
    Solver,
    Woodbury,
)
from tests.problems import PROBLEMS

FISHERS, KRONECKER = {"EmpiricalFisher", "MarginGaussNewton", "MarginKernel"}, {"KFAC", "EKFAC"}
CURVATURES: dict[str, Curvature] = {
    type(curvature).__name__: curvature
    for curvature in (
        ExactHessian(),
        GaussNewton(),
        EmpiricalFisher(),
        MarginGaussNewton(),
        MarginKernel(),
        ClassGaussNewton(),
        KFAC(),
        EKFAC(),
    )
}
PAIRS: list[tuple[Solver, set[str]]] = [
    (Explicit(5.0), set(CURVATURES)),
    (ConjugateGradient(5.0), set(CURVATURES)),
    (Lanczos(5.0, rank=3), set(CURVATURES)),
    (LiSSA(5.0, depth=5, batch_size=4), {"ExactHessian", "GaussNewton", *FISHERS}),
    (DataInf(5.0), FISHERS),
    (Woodbury(5.0), {"ClassGaussNewton", *FISHERS}),
    (Eigenbasis(5.0), KRONECKER),
    (ConjugateGradient(5.0, preconditioner=Eigenbasis(5.0)), KRONECKER),
]


@pytest.mark.parametrize("name", CURVATURES)
@pytest.mark.parametrize(("solver", "allowed"), PAIRS, ids=lambda x: type(x).__name__)
def test_what_is_accepted_runs_and_all_else_is_refused(solver, allowed, name) -> None:
    problem = PROBLEMS["mlp"]()
    task, curvature = problem.task(), CURVATURES[name]
    if name in allowed:
        attributor = InfluenceFunction(task, solver, curvature).cache([problem.train])
        scores = attributor.attribute([problem.train], [problem.test])
        assert bool(torch.isfinite(scores).all())
        return
    for kind in (InfluenceFunction, RelatIF):
        with pytest.raises(ValueError, match=f"needs a curvature that offers .*got {name}; use"):
            kind(task, solver, curvature)


def test_the_refusal_names_what_would_do() -> None:
    task = PROBLEMS["mlp"]().task()
    with pytest.raises(ValueError) as refused:
        InfluenceFunction(task, DataInf(1.0), ClassGaussNewton())
    assert str(refused.value) == (
        "DataInf needs a curvature that offers one row per sample, got ClassGaussNewton; "
        "use EmpiricalFisher or MarginGaussNewton or MarginKernel, or ConjugateGradient as solver"
    )
    with pytest.raises(ValueError, match=r"an eigenbasis of its own, got ExactHessian; use EKFAC"):
        InfluenceFunction(task, Eigenbasis(1.0))


def test_the_default_is_a_curvature_that_the_solver_takes() -> None:
    task = PROBLEMS["mlp"]().task()
    assert InfluenceFunction(task, Woodbury(1.0)).curvature == EmpiricalFisher()
    assert InfluenceFunction(task, DataInf(1.0)).curvature == EmpiricalFisher()
    assert InfluenceFunction(task, LiSSA(1.0)).curvature == ExactHessian()


@pytest.mark.parametrize("name", CURVATURES)
def test_only_rows_of_samples_go_with_projected_gradients(name) -> None:
    curvature = CURVATURES[name]
    assert curvature.whole == (name not in FISHERS)
    attributor = InfluenceFunction(PROBLEMS["mlp"]().task(), Explicit(1.0), curvature)
    assert attributor.takes_projected == (name in FISHERS)


def test_all_curvatures_are_named() -> None:
    assert set(curvatures_that_offer(frozenset())) == set(CURVATURES)
    assert curvatures_that_offer(frozenset({"magic"})) == []
