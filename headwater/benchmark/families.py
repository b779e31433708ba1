"""Families of methods: what has one colour in the figures."""

from __future__ import annotations

from contextlib import suppress

from headwater.attributors import module_of

__all__ = ["FAMILIES", "OTHER", "family_of"]

OTHER = "other"
FAMILIES = {
    "no gradients": ("baselines", "bm25", "knn_shapley", "rps"),
    "gradient products": ("grad_dot",),
    "along the training run": ("data_value_embedding", "unrolling"),
    "Hessian": ("ExactHessian",),
    "Fisher": ("EmpiricalFisher", "KFAC", "EKFAC", "projected_influence"),
    "Gauss-Newton and TRAK": (
        "ClassGaussNewton", "GaussNewton", "MarginGaussNewton", "MarginKernel", "trak",
    ),
    OTHER: (),
}  # fmt: skip
"""The curvatures of each family, and the files of attributors that take none from outside."""


def family_of(attributor: str, curvature: str | None = None) -> str:
    """Return the family of a method: that of its curvature, or else of its attributor's file.

    Nothing is imported, so that a figure does not depend on the code of every method.

    Args:
        attributor: name or import path of the class.
        curvature: likewise, where the method is given one.
    """
    members = {(curvature or "").rpartition(":")[2]}
    with suppress(ValueError):  # a class of somebody else's
        members.add(module_of(attributor).rpartition(".")[2])
    return next((f for f, known in FAMILIES.items() if members.intersection(known)), OTHER)
