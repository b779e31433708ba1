"""Per-sample gradients: captured by hooks, each group of parameters in its cheapest form."""

from headwater.gradients.capture import GradientCapture
from headwater.gradients.forms import Sum
from headwater.gradients.gradients import Gradients, Scheme, concatenate
from headwater.gradients.matrix import Matrix
from headwater.gradients.outer import Outer
from headwater.gradients.per_sample import per_sample_gradients
from headwater.gradients.rows import Rows
from headwater.gradients.rules import RULES, Rule
from headwater.gradients.store import GradientStore, StoreDescription
from headwater.gradients.store_writer import StoreWriter, write_gradients
from headwater.gradients.term import Dense, LinearMap, Moments, Term

__all__ = [
    # what they are
    "Gradients",
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
    "per_sample_gradients",
    # keeping them
    "GradientStore",
    "StoreDescription",
    "StoreWriter",
    "write_gradients",
]
