"""Per-sample gradients: captured by hooks, factored, dense or projected, in memory or in a store."""

from headwater.gradients.capture import GradientCapture
from headwater.gradients.dense import DenseGradients
from headwater.gradients.factored import FactoredGradients, GradientScheme, LinearLayer
from headwater.gradients.gradients import Gradients, concatenate
from headwater.gradients.linear import LinearFactors
from headwater.gradients.per_sample import per_sample_gradients
from headwater.gradients.store import GradientStore, StoreDescription, StoreWriter
from headwater.gradients.writing import write_gradients

__all__ = [
    # representations
    "DenseGradients",
    "FactoredGradients",
    "GradientScheme",
    "Gradients",
    "LinearFactors",
    "LinearLayer",
    "concatenate",
    # making them
    "GradientCapture",
    "per_sample_gradients",
    # keeping them
    "GradientStore",
    "StoreDescription",
    "StoreWriter",
    "write_gradients",
]
