"""Curvature of the training objective: linear operators, and the per-sample rows they are made of."""

from headwater.curvature.curvature import Curvature, TrainingData, curvatures_that_offer
from headwater.curvature.gauss_newton import FullGaussNewton, GaussNewtonOperator
from headwater.curvature.hessian import ExactHessian, Hessian
from headwater.curvature.kronecker import EKFAC, KFAC
from headwater.curvature.kronecker_operator import KroneckerBlock, KroneckerOperator, rotate
from headwater.curvature.operator import (
    EIGENBASIS,
    MEAN_OVER_SAMPLES,
    ROW_PER_SAMPLE,
    ROWS,
    LinearOperator,
)
from headwater.curvature.rows import RowOperator
from headwater.curvature.sample_curvature import EmpiricalFisher, GaussNewton, SampleCurvature
from headwater.curvature.sampled_gauss_newton import SampledGaussNewton
from headwater.curvature.samples import SampleOperator

__all__ = [
    # which matrix
    "Curvature",
    "EKFAC",
    "EmpiricalFisher",
    "ExactHessian",
    "FullGaussNewton",
    "GaussNewton",
    "KFAC",
    "SampleCurvature",
    "SampledGaussNewton",
    "TrainingData",
    # operators
    "GaussNewtonOperator",
    "Hessian",
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
    # parts of them
    "rotate",
]
