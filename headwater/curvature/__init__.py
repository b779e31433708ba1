"""Curvature of the training objective: linear operators, and the per-sample rows they are made of."""

from headwater.curvature.class_gauss_newton import ClassGaussNewton
from headwater.curvature.curvature import Curvature, curvatures_that_offer
from headwater.curvature.ekfac import EKFAC
from headwater.curvature.gauss_newton import GaussNewton, GaussNewtonOperator
from headwater.curvature.hessian import ExactHessian, Hessian
from headwater.curvature.kfac import KFAC
from headwater.curvature.kronecker_operator import KroneckerBlock, KroneckerOperator
from headwater.curvature.margin_gauss_newton import MarginGaussNewton, MarginKernel
from headwater.curvature.operator import (
    EIGENBASIS,
    MEAN_OVER_SAMPLES,
    ROW_PER_SAMPLE,
    ROWS,
    LinearOperator,
)
from headwater.curvature.row_curvature import EmpiricalFisher, SampleCurvature
from headwater.curvature.rows import KeptBlocks, RowOperator
from headwater.curvature.sample_operator import SampleOperator

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
    "SampleCurvature",
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
