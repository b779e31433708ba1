"""How models are trained: by a recipe, or by a training loop of one's own."""

from headwater.benchmark.recipes.loop import END, Checkpoint, TrainingRun
from headwater.benchmark.recipes.recipe import Recipe, every, matrices

__all__ = ["END", "Checkpoint", "Recipe", "TrainingRun", "every", "matrices"]
