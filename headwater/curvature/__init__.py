"""Curvature of the training objective: linear operators, and the per-sample rows they are made of."""

from headwater.curvature.hessian import Hessian
from headwater.curvature.operator import LinearOperator
from headwater.curvature.rows import RowOperator
from headwater.curvature.sample_curvature import EmpiricalFisher, GaussNewton, SampleCurvature

__all__ = [
    # operators in parameter space
    "Hessian",
    "LinearOperator",
    # operators made of one row a sample
    "EmpiricalFisher",
    "GaussNewton",
    "RowOperator",
    "SampleCurvature",
]
