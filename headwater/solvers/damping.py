"""The damping λ: a number, or a multiple of the curvature's own mean eigenvalue."""

import math
from dataclasses import dataclass
from typing import Literal

from headwater.checks import check_positive


@dataclass(frozen=True)
class Relative:
    """λ = multiple · tr(C)/p: a multiple > 0 of the mean eigenvalue of C, at every checkpoint anew.

    It follows the scale of the loss and of the model; p counts the dimensions that C has, those of
    the projected space where gradients are projected.

    Reference:
        Grosse et al., Studying Large Language Model Generalization with Influence Functions, 2023.
    """

    multiple: float

    def __post_init__(self) -> None:
        check_positive("the multiple of a relative damping", self.multiple)


Damping = float | Literal["auto"] | Relative
"""λ in the unit of the mean curvature C = (1/n) Σ C_i; "auto" stands for `AUTO`."""
AUTO = Relative(0.1)


def check_damping(damping: Damping, *, allow_zero: bool = False) -> None:
    """Raise ValueError unless a damping is relative, "auto", or positive (or not negative)."""
    if isinstance(damping, str):
        if damping != "auto":
            raise ValueError(
                f"damping must be a number, 'auto' or Relative(multiple), got {damping!r}"
            )
    elif not isinstance(damping, Relative):
        check_positive("damping", damping, allow_zero=allow_zero)


def absolute(damping: Damping, mean_eigenvalue: float) -> float:
    """Return λ as a number, given tr(C)/p; ValueError if it is relative to one that is not positive."""
    relative = AUTO if isinstance(damping, str) else damping
    if not isinstance(relative, Relative):
        return relative
    if not 0.0 < mean_eigenvalue < math.inf:
        raise ValueError(
            "a relative damping needs a curvature whose mean eigenvalue is positive, got "
            f"{mean_eigenvalue:.3g}; pass a number, or use a Gauss-Newton curvature"
        )
    return relative.multiple * mean_eigenvalue
