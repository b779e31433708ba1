"""Curvature of the training objective: linear operators, and the per-sample rows they are made of."""

from headwater.curvature.curvature import Curvature, TrainingData
from headwater.curvature.hessian import ExactHessian, Hessian
from headwater.curvature.operator import LinearOperator
from headwater.curvature.rows import RowOperator
from headwater.curvature.sample_curvature import EmpiricalFisher, GaussNewton, SampleCurvature

__all__ = [
    # which matrix
    "Curvature",
    "EmpiricalFisher",
    "ExactHessian",
    "GaussNewton",
    "SampleCurvature",
    "TrainingData",
    # operators
    "Hessian",
    "LinearOperator",
    "RowOperator",
]
