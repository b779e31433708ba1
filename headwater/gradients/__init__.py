"""Per-sample gradients: captured by hooks, each group of parameters in its cheapest form."""

from headwater.gradients.capture import GradientCapture
from headwater.gradients.dense import Dense
from headwater.gradients.gradients import GradientProjector, Gradients, Scheme, concatenate
from headwater.gradients.matrix import Matrix
from headwater.gradients.outer import Outer
from headwater.gradients.per_sample import looped_gradients, per_sample_gradients
from headwater.gradients.rows import Rows
from headwater.gradients.rules import RULES, Rule
from headwater.gradients.store import GradientStore
from headwater.gradients.store_format import StoreDescription
from headwater.gradients.store_writer import StoreWriter
from headwater.gradients.sums import Sum
from headwater.gradients.term import LinearMap, Moments, Term
from headwater.gradients.writing import write_gradients

__all__ = [
    # what they are
    "Gradients",
    "GradientProjector",
    "Scheme",
    "concatenate",
    # the forms of a group of parameters
    "Dense",
    "LinearMap",
    "Matrix",
    "Moments",
    "Outer",
    "Rows",
    "Sum",
    "Term",
    # making them
    "GradientCapture",
    "RULES",
    "Rule",
    "looped_gradients",
    "per_sample_gradients",
    # keeping them
    "GradientStore",
    "StoreDescription",
    "StoreWriter",
    "write_gradients",
]
