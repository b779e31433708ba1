"""What a recipe may say: the parts that methods are composed of, and the settings of each part.

Light on purpose: `make plan` reads it without importing PyTorch. A test compares it with the library.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ATTRIBUTORS", "CURVATURES", "PROJECTIONS", "SOLVERS", "Takes", "code_of"]


@dataclass(frozen=True)
class Takes:
    """The settings that one part takes beside its damping.

    Args:
        needs: must be given.
        may: may be given.
        on: what it works on: stores' functions for an attributor, curvatures for a solver; empty = all.
    """

    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    on: frozenset[str] = frozenset()


def _takes(needs: str = "", may: str = "", on: str = "") -> Takes:
    return Takes(frozenset(needs.split()), frozenset(may.split()), frozenset(on.split()))


ATTRIBUTORS = {
    "GradDot": _takes(),
    "GradCos": _takes(),
    "TracInCP": _takes(),
    "Unrolling": _takes(on="loss"),
    "DataValueEmbedding": _takes("projection", on="loss"),
    "InfluenceFunction": _takes("solver curvature"),
    "RelatIF": _takes("solver curvature norm"),
    "TRAK": _takes("damping", "blocks soft_threshold projection", on="margin"),
    "ExactTRAK": _takes("damping", on="margin"),
    "ProjectedInfluence": _takes("damping", "blocks", on="loss"),
    "RPS": _takes("damping", "normalize fit"),
    "KNNShapley": _takes("neighbours"),
    "RandomScores": _takes(may="seed"),
    "LabelMatch": _takes(),
    "FeatureSimilarity": _takes(),
    "LossOnly": _takes(),
}
"""What each attributor takes; `damping` of RPS is its l2."""

CURVATURES = {
    "Hessian": _takes(on="loss"),
    "FullGaussNewton": _takes(on="loss"),
    "EmpiricalFisher": _takes(on="loss"),
    "GaussNewton": _takes(on="margin"),
    "SampledGaussNewton": _takes(may="draws classes seed", on="loss"),
    "KFAC": _takes(may="labels draws seed", on="loss"),
    "EKFAC": _takes(may="labels draws seed", on="loss"),
}
"""What each curvature takes."""

_ROWS, _KRONECKER = "EmpiricalFisher GaussNewton", "KFAC EKFAC"
SOLVERS = {
    "Explicit": _takes(),
    "ConjugateGradient": _takes(may="max_iterations tolerance"),
    "LiSSA": _takes("depth batch_size", "scale repeats seed", on=f"Hessian {_ROWS}"),
    "Lanczos": _takes("rank", "seed residual"),
    "DataInf": _takes(on=_ROWS),
    "Woodbury": _takes(on=f"{_ROWS} SampledGaussNewton"),
    "Eigenbasis": _takes(on=_KRONECKER),
}
"""What each solver takes, and the curvatures it solves with."""

PROJECTIONS = {
    "Rademacher": _takes("dimension", "seed"),
    "Gaussian": _takes("dimension", "seed"),
    "SparseJL": _takes("dimension", "seed nonzeros"),
    "RandomMask": _takes("dimension", "seed"),
    "GraSS": _takes("dimension", "seed blowup"),
    "Kronecker": _takes("dimension_in dimension_out", "seed"),
    "FactGraSS": _takes("dimension", "seed blowup"),
    "Arnoldi": _takes("dimension", "seed"),
}
"""What each projection takes; Arnoldi's is learned from a curvature, it belongs to TRAK and no store."""

_SHARED = "headwater/attributors/attributor.py"
_INFLUENCE = "headwater/attributors/influence_function.py"
_GRAM = "headwater/attributors/block_gram.py"
_PAIRWISE = (
    "headwater/attributors/pairwise.py", "headwater/attributors/direction.py",
    "headwater/features.py", "headwater/labels.py",
)  # fmt: skip
_RUNS = (
    "headwater/attributors/data_value_embedding.py", "headwater/trajectory.py",
    "headwater/replay.py", "headwater/retraining", "stages/runs.py",
)  # fmt: skip
_CODE = {
    "RelatIF": (_INFLUENCE,),
    "ExactTRAK": (_INFLUENCE,),
    "TRAK": (_GRAM, "headwater/attributors/soft_threshold.py"),
    "ProjectedInfluence": (_GRAM,),
    "RPS": ("headwater/features.py", "headwater/softmax_regression.py"),
    "KNNShapley": _PAIRWISE,
    "RandomScores": _PAIRWISE,
    "LabelMatch": _PAIRWISE,
    "FeatureSimilarity": _PAIRWISE,
    "LossOnly": _PAIRWISE,
    "Unrolling": _RUNS,
    "DataValueEmbedding": _RUNS,
}
"""The sources that an attributor runs beside its own file and those that all run."""


def code_of(attributor: str) -> list[str]:
    """Return five sources that a method runs beside what all do, padded with one of these."""
    own = _CODE.get(attributor, ())
    return [*own, *[_SHARED] * (5 - len(own))]
