"""Learning rates during a run, as factors of the recipe's rate."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["Schedule", "constant", "cosine", "one_cycle"]

Schedule = Callable[[int, int], float]
"""schedule(step, steps) -> the factor of the learning rate at a step, counted from 0, of a whole run."""


def constant(step: int, steps: int) -> float:
    """Return 1."""
    return 1.0


def cosine(warmup: int = 0, final: float = 0.0) -> Schedule:
    """Return a rise from 0 to 1 over the first steps, then half a cosine down to `final`.

    Reference:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017.

    Example:
        >>> [round(cosine(warmup=2, final=0.1)(step, 12), 2) for step in (0, 1, 2, 7, 12)]
        [0.33, 0.67, 1.0, 0.55, 0.1]
    """

    def factor(step: int, steps: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor


def one_cycle(peak: float = 0.3, start: float = 0.04, final: float = 1e-4) -> Schedule:
    """Return half a cosine up from `start` to 1, at a share `peak` of the run, and one down to `final`.

    Reference:
        Smith and Topin, Super-Convergence, 2018.

    Example:
        >>> [round(one_cycle(0.5, start=0.2, final=0.0)(step, 10), 2) for step in (0, 5, 10)]
        [0.2, 1.0, 0.0]
    """

    def factor(step: int, steps: int) -> float:
        progress = step / steps
        if progress < peak:
            low, share = start, 1.0 - progress / peak
        else:
            low, share = final, (progress - peak) / (1.0 - peak)
        return low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * share))

    return factor
