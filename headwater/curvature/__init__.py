"""Curvature of the training objective: linear operators, and the per-sample rows they are made of."""

from headwater.curvature.class_gauss_newton import ClassGaussNewton
from headwater.curvature.curvature import Curvature, curvatures_that_offer
from headwater.curvature.gauss_newton import GaussNewton, GaussNewtonOperator
from headwater.curvature.hessian import ExactHessian, Hessian
from headwater.curvature.kfac import EKFAC, KFAC
from headwater.curvature.kronecker_operator import KroneckerBlock, KroneckerOperator
from headwater.curvature.operator import (
    EIGENBASIS,
    MEAN_OVER_SAMPLES,
    ROW_PER_SAMPLE,
    ROWS,
    LinearOperator,
    SampleOperator,
)
from headwater.curvature.outer_products import (
    EmpiricalFisher,
    MarginGaussNewton,
    MarginKernel,
    OuterProductCurvature,
)
from headwater.curvature.row_operator import KeptBlocks, RowOperator

__all__ = [
    # which matrix
    "ClassGaussNewton",
    "Curvature",
    "EKFAC",
    "EmpiricalFisher",
    "ExactHessian",
    "GaussNewton",
    "KFAC",
    "MarginGaussNewton",
    "MarginKernel",
    "OuterProductCurvature",
    # operators
    "GaussNewtonOperator",
    "Hessian",
    "KeptBlocks",
    "KroneckerBlock",
    "KroneckerOperator",
    "LinearOperator",
    "RowOperator",
    "SampleOperator",
    # what operators offer
    "EIGENBASIS",
    "MEAN_OVER_SAMPLES",
    "ROWS",
    "ROW_PER_SAMPLE",
    "curvatures_that_offer",
]
