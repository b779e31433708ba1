"""The damping λ: a number, or a multiple of the curvature's own mean eigenvalue."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from headwater.checks import check_positive

__all__ = ["AUTO", "Damping", "Relative", "check_damping", "is_relative", "resolve"]

S = TypeVar("S")


@dataclass(frozen=True)
class Relative:
    """λ = multiple · tr(C)/p: a multiple of the mean eigenvalue of C, at every checkpoint anew.

    It follows the scale of the loss and of the model; p counts the dimensions that C has, those of
    the projected space where gradients are projected.

    Args:
        multiple: of the mean eigenvalue, > 0.

    Raises:
        ValueError: if it is not positive.

    Reference:
        Grosse et al., Studying Large Language Model Generalization with Influence Functions, 2023.

    Example:
        >>> Relative(0.5).of(mean_eigenvalue=4.0)
        2.0
    """

    multiple: float

    def __post_init__(self) -> None:
        """Check the argument."""
        check_positive("the multiple of a relative damping", self.multiple)

    def of(self, mean_eigenvalue: float) -> float:
        """Return λ as a number.

        Raises:
            ValueError: if the mean eigenvalue is not positive, as that of a Hessian may be.
        """
        if not 0.0 < mean_eigenvalue < math.inf:
            raise ValueError(
                "a relative damping needs a curvature whose mean eigenvalue is positive, got "
                f"{mean_eigenvalue:.3g}; pass a number, or use a Gauss-Newton curvature"
            )
        return self.multiple * mean_eigenvalue


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


def is_relative(solver: object) -> bool:
    """Return whether λ of a solver, or of a solver inside of it, is not a number yet."""
    own = getattr(solver, "damping", 0.0)
    return isinstance(own, (str, Relative)) or any(map(is_relative, _parts(solver).values()))


def resolve(solver: S, mean_eigenvalue: float) -> S:
    """Return the solver with λ as a number, and so the solvers inside of it.

    Args:
        solver: a dataclass with a field `damping`.
        mean_eigenvalue: tr(C)/p.

    Raises:
        ValueError: if it must be positive and is not.
    """
    if not is_relative(solver):
        return solver
    changes: dict[str, Any] = {k: resolve(v, mean_eigenvalue) for k, v in _parts(solver).items()}
    own: Damping = getattr(solver, "damping")  # noqa: B009 - any solver
    if isinstance(own, (str, Relative)):
        relative = own if isinstance(own, Relative) else AUTO
        changes["damping"] = relative.of(mean_eigenvalue)
    return dataclasses.replace(solver, **changes)  # type: ignore[type-var]


def _parts(solver: object) -> dict[str, Any]:
    """Return the solvers inside of a solver, such as a preconditioner."""
    if not dataclasses.is_dataclass(solver):
        return {}
    fields = {field.name: getattr(solver, field.name) for field in dataclasses.fields(solver)}
    return {name: value for name, value in fields.items() if hasattr(value, "damping")}
