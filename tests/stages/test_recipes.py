"""Recipes: what a constructor takes is what may be said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pytest

from headwater.attributors.attributor import Attributor
from headwater.curvature import EmpiricalFisher
from headwater.projections import GradientProjection, SparseJL
from headwater.solvers import ConjugateGradient, Lanczos, Relative, Solver, Woodbury
from stages.recipes import RecipeError, choices, classes, construct, damping_of, find, takes


@dataclass(frozen=True)
class Thing:
    """Takes plain values, a part, a part that may be left out, and what no recipe can say."""

    count: int
    solver: Solver
    rates: Sequence[float] = ()
    norm: Literal["loss", "parameters"] | None = None
    other: Solver | None = None
    hook: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must not be negative, got {self.count}")


def build(**recipe):
    return construct(Thing, recipe, {"count": 1, "unwanted": 2}, "here")


def test_parts_are_built_from_names_and_mappings():
    thing = build(
        solver={"kind": "Woodbury", "damping": 0.5},
        other={"kind": "ConjugateGradient", "damping": 1, "preconditioner": {
            "kind": "Lanczos", "damping": 0.1, "rank": 3}},
        rates=[1, 2.5],
        norm="loss",
    )  # fmt: skip
    assert thing == Thing(
        1, Woodbury(0.5), [1.0, 2.5], "loss",
        ConjugateGradient(1.0, preconditioner=Lanczos(0.1, 3)),
    )  # fmt: skip


def test_what_the_caller_gives_is_taken_where_the_class_takes_it():
    solver = Woodbury(1.0)
    assert construct(Thing, {"count": 3}, {"solver": solver, "task": None}, "x").solver is solver


def test_an_import_path_is_a_class_too():
    thing = build(solver={"kind": "headwater.solvers.woodbury:Woodbury", "damping": 1.0})
    assert thing.solver == Woodbury(1.0)


BAD = {
    "unknown argument": ({"solver": "Woodbury", "size": 1}, "here: Thing takes no 'size', it takes"),
    "missing argument": ({}, "here: Thing needs 'solver'"),
    "missing in a part": ({"solver": "Woodbury"}, "here.solver: Woodbury needs 'damping'"),
    "wrong type": (
        {"solver": {"kind": "Lanczos", "damping": 1, "rank": "many"}}, "here.solver.rank: Input",
    ),
    "out of range": (
        {"solver": {"kind": "Woodbury", "damping": -1}}, "here.solver: damping must be",
    ),
    "refused by the class": ({"count": -1, "solver": {"kind": "Woodbury", "damping": 1}}, "here: count"),
    "no such part": ({"solver": "Cholesky"}, "here.solver must be one of Con"),
    "a part of another kind": ({"solver": "headwater.curvature:KFAC"}, "here.solver must be one of"),
    "no such module": ({"solver": "no.where:Solver"}, "here.solver must be package.module:Class"),
    "not a part": ({"solver": 3}, "here.solver must be a name, or {kind: name, ...}, got 3"),
    "no literal": ({"solver": {"kind": "Woodbury", "damping": 1}, "norm": "x"}, "here.norm"),
    "what no recipe can say": ({"solver": {"kind": "Woodbury", "damping": 1}, "hook": "x"}, "here.hook"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_line_with_its_place(case):
    recipe, message = BAD[case]
    with pytest.raises(RecipeError) as caught:
        build(**recipe)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_signatures_are_read_with_their_defaults():
    assert list(takes(SparseJL)) == ["dimension", "seed", "checkpoint", "nonzeros"]
    assert takes(SparseJL)["nonzeros"].default == 1
    assert takes(SparseJL)["seed"].annotation is int


def test_all_classes_of_a_recipe():
    kind = find("InfluenceFunction", (Attributor,), "here")
    recipe = {"solver": {"kind": "Woodbury", "damping": 1}, "curvature": "EmpiricalFisher"}
    assert list(classes(kind, recipe, "here")) == [kind, Woodbury, EmpiricalFisher]


def test_abstract_classes_are_no_choice():
    with pytest.raises(RecipeError, match="FactGraSS, Gaussian") as caught:
        find("LayerwiseProjection", (GradientProjection,), "here")
    assert "LayerwiseProjection," not in str(caught.value)


@pytest.mark.parametrize(
    ("damping", "wanted"),
    [
        (2, 2.0),
        ("auto", "auto"),
        ({"kind": "Relative", "multiple": 0.5}, Relative(0.5)),
        ({"kind": "headwater.solvers.damping:Relative", "multiple": 1}, Relative(1.0)),
    ],
    ids=str,
)
def test_a_damping_is_a_number_auto_or_relative(damping, wanted):
    assert build(solver={"kind": "Woodbury", "damping": damping}).solver == Woodbury(wanted)


@pytest.mark.parametrize(
    ("damping", "message"),
    [
        ("much", "here.solver.damping"),
        ([1.0], "here.solver.damping"),
        ({"multiple": 1.0}, "here.solver.damping must be a name, or {kind: name, ...}"),
        ({"kind": "Woodbury", "damping": 1.0}, "here.solver.damping must be one of Relative"),
        ({"kind": "Relative", "multiple": 0}, "here.solver.damping: the multiple"),
    ],
    ids=str,
)
def test_other_dampings_are_one_line(damping, message):
    with pytest.raises(RecipeError) as caught:
        build(solver={"kind": "Woodbury", "damping": damping})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_choices_of_a_damping():
    recipe = {"a": 1, "solver": {"kind": "X", "damping": {"one": [1.0, 2.0], "two": 3.0}}}
    found = choices(recipe, "one", "here")
    assert [c["solver"]["damping"] for c in found] == [1.0, 2.0]
    assert [damping_of(c) for c in found] == [1.0, 2.0]
    assert all(c["a"] == 1 for c in found)
    assert choices(recipe, "two", "here")[0]["solver"]["damping"] == 3.0
    with pytest.raises(RecipeError, match=r"here\.solver\.damping must be given for three"):
        choices(recipe, "three", "here")
    assert choices({"l2": [0.1]}, "one", "here") == [{"l2": 0.1}]
    relative = {"kind": "Relative", "multiple": 0.1}
    for given in (relative, [relative], {"one": [relative]}):
        (only,) = choices({"damping": given}, "one", "here")
        assert only == {"damping": relative}
        assert damping_of(only) == "0.1 x mean"
    several = choices({"solver": {"damping": {**relative, "multiple": [0.1, 1]}}}, "one", "here")
    assert [c["solver"]["damping"]["multiple"] for c in several] == [0.1, 1]
    mixed = choices({"damping": ["auto", 1, "1e4"]}, "one", "here")
    assert [damping_of(c) for c in mixed] == ["auto", 1.0, 1e4]
    assert choices({"a": 1}, "one", "here") == [{"a": 1}]
    assert damping_of({"a": 1}) is None
