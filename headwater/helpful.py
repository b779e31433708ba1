"""Which way a function moves when a prediction gets better."""

from __future__ import annotations

from typing import Literal

__all__ = ["SIGNS", "Helpful", "helpful_direction"]

Helpful = Literal["lower", "higher"]

SIGNS = {"loss": -1, "margin": 1, "logit": 1, "log_probability": 1}
"""Which way a function of a setting's targets moves when a prediction gets better."""


def helpful_direction(function: str, given: Helpful | None = None) -> Helpful:
    """Return whether a prediction is better when a function is lower or higher.

    The function is a name, one of `SIGNS` where nothing is given: ValueError if nobody said which way,
    or said something else.

    Example:
        >>> helpful_direction("loss"), helpful_direction("reward", "higher")
        ('lower', 'higher')
    """
    if given is None and function in SIGNS:
        return "lower" if SIGNS[function] < 0 else "higher"
    if given not in ("lower", "higher"):
        raise ValueError(
            f"helpful must be 'lower' or 'higher' for function {function!r}, got {given!r}: say which "
            "way it moves as a prediction gets better"
        )
    return given
