"""What is measured beside what: a table for each problem, one row of it a method."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["METHODS", "PROBLEMS", "Agreement", "Contender", "Method", "Problem"]


class Agreement(Enum):
    """How a peer's result relates to ours: theirs = factor × ours."""

    EQUAL = "the same numbers"
    NEGATIVE = "minus the same numbers"
    NEGATIVE_N = "-n times the same numbers"
    ALIKE = "the same up to a random projection, or to how far a solver has come"
    ALIKE_NEGATIVE = "minus the same, up to the same"
    DIFFERENT = "minus another definition of the same"

    def factor(self, n_train: int) -> float:
        """Return what ours is multiplied with before the two are compared."""
        if self is Agreement.NEGATIVE_N:
            return -float(n_train)
        return 1.0 if self in (Agreement.EQUAL, Agreement.ALIKE) else -1.0

    @property
    def exact(self) -> bool:
        """Whether the difference means something, beside the correlation."""
        return self in (Agreement.EQUAL, Agreement.NEGATIVE, Agreement.NEGATIVE_N)


@dataclass(frozen=True)
class Problem:
    """One table: a trained net with its samples.

    Args:
        key: its name on the command line, in `nets.NETS` and in `problem.SETTINGS`.
        title: what it is.
        n_train: training samples.
        n_test: test samples.
    """

    key: str
    title: str
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Contender:
    """A peer's call beside ours.

    Args:
        side: the library, a file in `benchmarks/sides`.
        call: the name in its ``CALLS``.
        agreement: how its result relates to ours.
        target: how many times faster Headwater is meant to be; None: there is no such aim.
        note: what is particular about the call.
    """

    side: str
    call: str
    agreement: Agreement
    target: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Args:
        key: its name on the command line, and in the ``CALLS`` of our side.
        title: its name on the page.
        contenders: the peers that can do it, or try to.
        problem: the table that it is in.
    """

    key: str
    title: str
    contenders: tuple[Contender, ...] = ()
    problem: str = "mnist-mlp"


def _dattri(call: str, agreement: Agreement, target: float | None, note: str = "") -> Contender:
    return Contender("dattri", call, agreement, target, note)


def _of_layers(problem: str, note: str = "") -> tuple[Method, ...]:
    """Return the methods that are measured on nets of other layers as well.

    Args:
        problem: the table that they are in.
        note: what is particular about kronfluence's EK-FAC there.
    """
    return (
        Method(
            "grad-dot",
            "Grad-Dot",
            (
                Contender("kronfluence", "grad-dot", Agreement.NEGATIVE),
                _dattri("grad-dot", Agreement.NEGATIVE, None, "exact"),
            ),
            problem,
        ),
        Method(
            "ek-fac",
            "EK-FAC, empirical Fisher",
            (
                Contender("kronfluence", "ek-fac", Agreement.NEGATIVE_N, note=note),
                _dattri("ek-fac", Agreement.DIFFERENT, None, "in another basis"),
            ),
            problem,
        ),
    )


PROBLEMS: tuple[Problem, ...] = (
    Problem("mnist-mlp", "a perceptron on MNIST", 5000, 500),
    Problem("conv", "a convolutional net with group norms on MNIST's images, 28 × 28", 1000, 100),
    Problem("gpt", "a small GPT on sequences of 64 characters of Tiny Shakespeare", 500, 50),
)
METHODS: tuple[Method, ...] = (
    Method(
        "grad-dot",
        "Grad-Dot",
        (
            _dattri("grad-dot", Agreement.NEGATIVE, 100, "exact"),
            _dattri("grad-dot-default", Agreement.ALIKE_NEGATIVE, None, "as it comes: projected"),
        ),
    ),
    Method("grad-cos", "Grad-Cos", (_dattri("grad-cos", Agreement.NEGATIVE, 100, "exact"),)),
    Method("tracin-10", "TracInCP-10", (_dattri("tracin-10", Agreement.NEGATIVE, 100, "exact"),)),
    Method("if-cg", "IF, CG, 10 steps", (_dattri("if-cg", Agreement.ALIKE_NEGATIVE, 20),)),
    Method(
        "if-lissa",
        "IF, LiSSA, 100 steps of 50",
        (_dattri("if-lissa", Agreement.ALIKE_NEGATIVE, 20, "draws of its own"),),
    ),
    Method(
        "if-arnoldi",
        "IF, Arnoldi, 50 products",
        (
            _dattri(
                "if-arnoldi",
                Agreement.ALIKE_NEGATIVE,
                10,
                "another start vector; keeps 45 directions",
            ),
        ),
    ),
    Method("data-inf", "DataInf", (_dattri("data-inf", Agreement.NEGATIVE_N, None),)),
    Method(
        "ek-fac",
        "EK-FAC, empirical Fisher",
        (
            Contender("kronfluence", "ek-fac", Agreement.NEGATIVE_N, 3),
            _dattri("ek-fac", Agreement.DIFFERENT, 50, "in another basis"),
        ),
    ),
    Method("fisher", "Fisher, exact, in Gram space"),
    Method(
        "trak-512",
        "TRAK-1, k = 512",
        (
            Contender("traker", "trak-512", Agreement.ALIKE, 5),
            _dattri("trak-512", Agreement.ALIKE, 10),
        ),
    ),
    Method(
        "trak-2048",
        "TRAK-1, k = 2,048",
        (
            Contender("traker", "trak-2048", Agreement.ALIKE, 5),
            _dattri("trak-2048", Agreement.ALIKE, 10),
        ),
    ),
    Method(
        "trak-512-sparse",
        "TRAK-1, k = 512, our sparse projection",
        (
            Contender("traker", "trak-512", Agreement.ALIKE, 5, "its dense one"),
            _dattri("trak-512", Agreement.ALIKE, 10, "its dense one"),
        ),
    ),
    Method(
        "trak-2048-sparse",
        "TRAK-1, k = 2,048, our sparse projection",
        (
            Contender("traker", "trak-2048", Agreement.ALIKE, 5, "its dense one"),
            _dattri("trak-2048", Agreement.ALIKE, 10, "its dense one"),
        ),
    ),
    Method("knn-shapley", "KNN-Shapley", (_dattri("knn-shapley", Agreement.NEGATIVE, 100),)),
    Method("lds", "LDS, 50 subsets", (_dattri("lds", Agreement.EQUAL, 100),)),
    Method("lds-interval", "LDS with its confidence interval"),
    Method("auc", "AUC of wrong labels", (_dattri("auc", Agreement.EQUAL, 500),)),
    Method(
        "loo",
        "LOO correlation, 500 removed",
        (_dattri("loo", Agreement.NEGATIVE, None, "of f, not of its change"),),
    ),
    *_of_layers("conv"),
    *_of_layers("gpt", "positions without a gradient count"),
)
