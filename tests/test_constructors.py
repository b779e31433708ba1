"""Constructors say what they take, and refuse what is out of range: recipes rely on both."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator

import pytest

from headwater import attributors, curvature, projections, solvers, targets
from headwater.attributors import RPS, TRAK, ExactTRAK, KNNShapley, ProjectedInfluence, RelatIF
from headwater.curvature import EKFAC, KFAC, ClassGaussNewton, Curvature
from headwater.projections import (
    FactGraSS,
    Gaussian,
    GradientProjection,
    GraSS,
    Kronecker,
    Rademacher,
    RandomMask,
    SparseJL,
)
from headwater.solvers import (
    ArnoldiProjection,
    ConjugateGradient,
    DataInf,
    Eigenbasis,
    Explicit,
    Lanczos,
    LearnedProjection,
    LiSSA,
    Solver,
    Woodbury,
)
from tests.problems import PROBLEMS


def _parts() -> Iterator[type]:
    yield from (getattr(attributors, name) for name in attributors.method_names())
    kinds = (Solver, Curvature, GradientProjection, LearnedProjection)
    for module in (solvers, curvature, projections):
        for value in (getattr(module, name) for name in module.__all__):
            known = inspect.isclass(value) and issubclass(value, kinds) and value not in kinds
            if known and not inspect.isabstract(value):
                yield value


PARTS = sorted(set(_parts()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
def test_type_hints_of_constructors_are_known_at_run_time(kind: type) -> None:
    hints = typing.get_type_hints(kind if dataclasses.is_dataclass(kind) else kind.__init__)
    arguments = [name for name in inspect.signature(kind).parameters if name != "self"]
    assert set(arguments) <= hints.keys()


def test_the_parts_are_found() -> None:
    names = {kind.__name__ for kind in PARTS}
    assert {"TRAK", "LiSSA", "EKFAC", "Kronecker", "ArnoldiProjection"} <= names
    assert not names & {
        "OuterProductCurvature",
        "Projection",
        "LayerwiseProjection",
        "RandomMatrix",
    }


@pytest.mark.parametrize(
    ("hint", "values"),
    [
        (typing.get_type_hints(RelatIF.__init__)["norm"], ("loss", "parameters")),
        (typing.get_type_hints(RPS.__init__)["fit"], ("predictions", "labels")),
        (typing.get_type_hints(EKFAC)["labels"], ("sampled", "empirical")),
    ],
)
def test_choices_are_in_the_type_hints(hint, values) -> None:
    assert typing.get_args(hint) == values


def test_a_learned_projection_is_one_at_run_time() -> None:
    assert isinstance(ArnoldiProjection(2), LearnedProjection)
    assert not isinstance(Rademacher(2), LearnedProjection)


def _refused() -> Iterator[tuple[type, dict[str, object], str]]:
    for solver in (Explicit, ConjugateGradient, LiSSA):
        yield solver, {"damping": -1.0}, "damping must be >= 0"
    for solver in (DataInf, Eigenbasis, Woodbury):
        yield solver, {"damping": 0.0}, "damping must be > 0"
    yield Lanczos, {"damping": 0.0, "rank": 2}, "damping must be > 0"
    yield Lanczos, {"damping": -1.0, "rank": 2, "residual": False}, "damping must be >= 0"
    yield Lanczos, {"damping": 1.0, "rank": 0}, "rank must be > 0"
    yield ConjugateGradient, {"damping": 1.0, "max_iterations": 0}, "max_iterations must be > 0"
    yield ConjugateGradient, {"damping": 1.0, "tolerance": -1.0}, "tolerance must be >= 0"
    for name in ("depth", "batch_size", "repeats", "scale"):
        yield LiSSA, {"damping": 1.0, name: 0}, f"{name} must be > 0"
    for kind in (KFAC, EKFAC):
        yield kind, {"labels": "true"}, "labels must be one of sampled, empirical"
        yield kind, {"draws": 0}, "draws must be >= 1"
        yield kind, {"seed": -1}, "seed must be >= 0"
    yield ClassGaussNewton, {"draws": 0}, "draws of other classes must be > 0"
    yield ClassGaussNewton, {"draws": None, "classes": 1}, "draws of other classes must be > 0"
    yield ClassGaussNewton, {"seed": -1}, "seed must be >= 0"
    yield ClassGaussNewton, {"label": "logit"}, "label must be one of loss, margin"
    for kind in (Rademacher, Gaussian, SparseJL, RandomMask, GraSS, FactGraSS):
        yield kind, {"dimension": 0}, "dimension must be > 0"
        yield kind, {"dimension": 2, "seed": -1}, "seed must be >= 0"
    yield ArnoldiProjection, {"dimension": 0}, "dimension must be > 0"
    yield ArnoldiProjection, {"dimension": 3, "krylov": 2}, "krylov must be at least"
    yield Kronecker, {"dimension_in": 0, "dimension_out": 2}, "dimension_in must be > 0"
    yield Kronecker, {"dimension_in": 2, "dimension_out": 0}, "dimension_out must be > 0"
    yield Kronecker, {"dimension_in": 2, "dimension_out": 2, "seed": -1}, "seed must be >= 0"
    for kind in (SparseJL, GraSS, FactGraSS):
        yield kind, {"dimension": 2, "nonzeros": 3}, "nonzeros must be at most"
        yield kind, {"dimension": 2, "nonzeros": 0}, "nonzeros must be > 0"
    for kind in (GraSS, FactGraSS):
        yield kind, {"dimension": 2, "blowup": 0}, "blowup must be > 0"


@pytest.mark.parametrize(("kind", "arguments", "message"), list(_refused()), ids=str)
def test_parts_refuse_what_is_out_of_range(kind, arguments, message) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        kind(**arguments)
    assert "\n" not in str(refused.value)


PROJECTION = {"projection": Rademacher(2)}
REFUSED = [
    (TRAK, {**PROJECTION, "damping": -1.0}, "damping must be >= 0"),
    (TRAK, {**PROJECTION, "blocks": 0}, "blocks must be > 0"),
    (TRAK, {**PROJECTION, "blocks": ()}, "blocks must hold at least one size"),
    (TRAK, {**PROJECTION, "blocks": "all"}, "blocks must be a number, sizes or 'layers'"),
    (TRAK, {**PROJECTION, "soft_threshold": 0.0}, "soft_threshold must lie between 0 and 1"),
    (TRAK, {**PROJECTION, "soft_threshold": 1.0}, "soft_threshold must lie between 0 and 1"),
    (ExactTRAK, {"damping": 0.0}, "damping must be > 0"),
    (ProjectedInfluence, {**PROJECTION, "damping": -1.0}, "damping must be >= 0"),
    (ProjectedInfluence, {**PROJECTION, "damping": 1.0, "blocks": 0}, "blocks must be > 0"),
    (RPS, {"l2": 0.0}, "l2 must be > 0"),
    (RPS, {"l2": 1.0, "fit": "both"}, "fit must be 'predictions' or 'labels'"),
    (KNNShapley, {"neighbours": 0}, "neighbours must be > 0"),
    (RelatIF, {"solver": Explicit(1.0), "norm": "l2"}, "norm must be one of loss, parameters"),
]


@pytest.mark.parametrize(("kind", "arguments", "message"), REFUSED, ids=str)
def test_attributors_refuse_what_is_out_of_range(kind, arguments, message) -> None:
    task = PROBLEMS["mlp"]().task(target=targets.margin)
    with pytest.raises(ValueError, match=message) as refused:
        kind(task, **arguments)
    assert "\n" not in str(refused.value)
