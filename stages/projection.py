"""From a recipe in params.yaml to a projection."""

from __future__ import annotations

from headwater import projections
from stages.recipe import ProjectionRecipe

__all__ = ["make_projection"]


def make_projection(recipe: ProjectionRecipe | None) -> projections.GradientProjection | None:
    """Return the projection that a recipe describes; None where nothing is projected."""
    if recipe is None:
        return None
    name = "ArnoldiProjection" if recipe.kind == "Arnoldi" else recipe.kind
    projection: projections.GradientProjection = getattr(projections, name)(**recipe.settings())
    return projection
