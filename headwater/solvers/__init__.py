"""Solvers of (C + λI) x = b: what depends on the training data first, right-hand sides after."""

from headwater.solvers.arnoldi_projection import ArnoldiProjection, LearnedProjection
from headwater.solvers.conjugate_gradient import ConjugateGradient
from headwater.solvers.damping import Damping, Relative
from headwater.solvers.data_inf import DataInf
from headwater.solvers.eigenbasis import Eigenbasis
from headwater.solvers.explicit import Blocks, Explicit
from headwater.solvers.lanczos import Lanczos, krylov_basis
from headwater.solvers.lissa import LiSSA
from headwater.solvers.solver import Solution, Solver, State
from headwater.solvers.woodbury import Woodbury

__all__ = [
    "Damping",
    "LearnedProjection",
    "Relative",
    "Solution",
    "Solver",
    "State",
    "ConjugateGradient",
    "DataInf",
    "Eigenbasis",
    "Explicit",
    "Lanczos",
    "LiSSA",
    "Woodbury",
    "ArnoldiProjection",
    "Blocks",
    "krylov_basis",
]
