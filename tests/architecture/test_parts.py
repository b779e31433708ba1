"""What a recipe may say is what the library takes."""

import inspect

import pytest

from headwater import attributors, curvature, projections, solvers
from stages.parts import ATTRIBUTORS, CURVATURES, PROJECTIONS, SOLVERS, Takes
from stages.recipe import CurvatureRecipe, ProjectionRecipe, Recipe, SolverRecipe

GIVEN = {
    "task", "self", "learning_rates", "runs", "steps", "layer", "inputs", "damping", "l2", "projection",
}  # fmt: skip
"""Arguments that come from somewhere else, or that the benchmark leaves at their default."""


def _arguments(kind: type) -> set[str]:
    return set(inspect.signature(kind).parameters)


def _said(takes: Takes) -> set[str]:
    return set(takes.needs | takes.may)


def test_every_attributor_can_be_a_recipe() -> None:
    assert set(ATTRIBUTORS) == set(attributors.__all__) - {"Attributor"}


@pytest.mark.parametrize("name", ATTRIBUTORS)
def test_attributors_take_what_recipes_say(name: str) -> None:
    arguments = _arguments(getattr(attributors, name))
    said = _said(ATTRIBUTORS[name])
    assert said - {"damping"} <= arguments
    assert ("damping" in said) == bool(arguments & {"damping", "l2"})
    assert arguments - said <= GIVEN
    assert said - {"damping"} <= set(Recipe.model_fields)


@pytest.mark.parametrize(
    ("table", "module", "renamed", "recipe", "left"),
    [
        (SOLVERS, solvers, {}, SolverRecipe, {"damping", "preconditioner", "progress"}),
        (CURVATURES, curvature, {"Hessian": "ExactHessian"}, CurvatureRecipe, {"margin"}),
        (
            PROJECTIONS,
            projections,
            {"Arnoldi": "ArnoldiProjection"},
            ProjectionRecipe,
            {"checkpoint", "kind", "krylov", "nonzeros"},
        ),
    ],
    ids=["solvers", "curvatures", "projections"],
)
def test_parts_take_what_recipes_say(table, module, renamed, recipe, left) -> None:
    for name, takes in table.items():
        arguments = _arguments(getattr(module, renamed.get(name, name)))
        assert _said(takes) <= arguments, name
        assert arguments - _said(takes) <= left, name
        assert _said(takes) <= set(recipe.model_fields), name
