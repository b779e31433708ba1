"""Gradients to project: captured ones, and every form of term with numbers drawn for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor

from headwater.gradients import (
    Dense,
    GradientCapture,
    Gradients,
    Matrix,
    Outer,
    Rows,
    Scheme,
    Sum,
    Term,
)
from tests.problems import Problem

ROWS = 9
"""Of a table of an embedding."""


def captured(problem: Problem, keep_factors: bool = False) -> Gradients:
    """Return the gradients of the loss at the training samples."""
    task = problem.task()
    return GradientCapture(task.bind(), task.loss, keep_factors)(problem.train)


def worst_deviation(draw: Callable[[int], Tensor], wanted: Tensor, seeds: int) -> float:
    """Return the worst |mean - wanted| over seeds, in its own standard errors as estimated."""
    grams = torch.stack([(phi := draw(seed)) @ phi.T for seed in range(seeds)])
    error = grams.std(0) / seeds**0.5
    return float(((grams.mean(0) - wanted).abs() / error.clamp_min(1e-12)).max())


def _outer(**options: bool) -> Callable[..., Term]:
    return lambda normal, n, t, d_in, d_out: Outer(
        normal(n, t, d_in), normal(n, t, d_out), **options
    )


def _rows(normal: Callable[..., Tensor], n: int, t: int, d_in: int, d_out: int) -> Rows:
    return Rows((3 * normal(n, t)).long() % ROWS, normal(n, t, d_out), ROWS)


def _sum(normal: Callable[..., Tensor], n: int, t: int, d_in: int, d_out: int) -> Sum:
    weight = Outer(normal(n, t, ROWS), normal(n, t, d_out), transposed=True)
    return Sum((weight, _rows(normal, n, t, d_in, d_out)))


TERMS: dict[str, Callable[..., Term]] = {
    "outer": _outer(),
    "outer with bias": _outer(bias=True),
    "transposed": _outer(bias=True, transposed=True),
    "rows": _rows,
    "sum": _sum,
    "formed": lambda *sizes: _outer(bias=True)(*sizes).formed(),
    "formed, transposed": lambda *sizes: _outer(transposed=True)(*sizes).formed(),
    "convolution": lambda normal, n, t, d_in, d_out: Dense(
        normal(n, d_out * (d_in * 4 + 1)), Matrix(d_out, d_in * 4, bias=True)
    ),
    "without a matrix": lambda normal, n, t, d_in, d_out: Dense(normal(n, d_in + d_out)),
}
"""Terms of random numbers by form, of n samples, t positions, d_in inputs and d_out outputs."""


def made(forms: list[str], n: int, sizes: tuple[int, int, int], seed: int) -> Gradients:
    """Return gradients of a term of each form; sizes are t, d_in, d_out."""
    generator = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    terms = [TERMS[form](normal, n, *sizes) for form in forms]
    return Gradients(Scheme.of_widths([term.width for term in terms]), terms, normal(n))


def gradients() -> st.SearchStrategy[Gradients]:
    """Return any mix of forms and sizes."""
    return st.builds(
        made,
        st.lists(st.sampled_from(sorted(TERMS)), min_size=1, max_size=4),
        st.integers(1, 5),
        st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
        st.integers(0, 1000),
    )
