"""Headwater's side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.sides import hyperparameters as choice
from benchmarks.sides.inputs import Inputs
from headwater import (
    AttributionTask,
    attributors,
    curvature,
    metrics,
    projections,
    solvers,
    targets,
)
from headwater.attributors import Attributor

__all__ = ["CALLS"]

Call = Callable[[], Tensor | NDArray[Any]]
Make = Callable[[AttributionTask], Attributor]


def _attribute(
    inputs: Inputs,
    make: Make,
    target: targets.Target = targets.cross_entropy,
    run: bool = False,
) -> Call:
    """Return the call: task, attributor, cache and attribute, as in the README.

    Args:
        inputs: the problem.
        make: the attributor of a task.
        target: what is explained.
        run: whether the checkpoints are those of the training run, or the one model.
    """
    checkpoints = inputs.checkpoints() if run else [inputs.state]
    train, test = inputs.train, inputs.test

    def call() -> Tensor:
        model = inputs.make_model()
        task = AttributionTask(model, targets.cross_entropy, target, checkpoints, inputs.layers)
        return make(task).cache(train).attribute(train, test)

    return call


def _influence(
    inputs: Inputs, solver: Callable[[], Any], matrix: Callable[[], Any] = curvature.ExactHessian
) -> Call:
    return _attribute(inputs, lambda t: attributors.InfluenceFunction(t, solver(), matrix()))


def _tracin(inputs: Inputs) -> Call:
    rates = inputs.array("learning_rates").tolist()
    return _attribute(inputs, lambda t: attributors.TracInCP(t, rates), run=True)


def _lissa() -> Any:
    return solvers.LiSSA(
        damping=choice.DAMPING,
        scale=choice.LISSA_SCALE,
        depth=choice.LISSA_DEPTH,
        batch_size=choice.LISSA_BATCH,
    )


def _trak(projection: projections.Projection) -> Callable[[Inputs], Call]:
    def prepare(inputs: Inputs) -> Call:
        def make(task: AttributionTask) -> Attributor:
            # Ours is added to ΦᵀΦ/n of gradients that are not divided by √p.
            damping = choice.TRAK_DAMPING * task.layout.size / len(inputs.train_set)
            return attributors.TRAK(task, projection, damping)

        return _attribute(inputs, make, targets.margin)

    return prepare


def _lds(replicates: int) -> Callable[[Inputs], Call]:
    def prepare(inputs: Inputs) -> Call:
        scores, outputs = inputs.array("scores"), inputs.array("subset_outputs")
        masks = np.zeros((len(outputs), len(scores)), dtype=bool)
        np.put_along_axis(masks, inputs.array("subset_indices"), True, axis=1)
        return lambda: (
            metrics.linear_datamodeling_score(
                scores, masks, outputs, replicates=replicates
            ).per_test
        )

    return prepare


def _auc(inputs: Inputs) -> Call:
    values, flipped = inputs.array("self_influence"), inputs.array("flipped")
    return lambda: np.array([metrics.noisy_label_auc(values, flipped, replicates=0).value])


def _loo(inputs: Inputs) -> Call:
    names = ("scores", "removed", "outputs_without", "outputs_full")
    arrays = [inputs.array(name) for name in names]
    return lambda: metrics.leave_one_out_correlation(*arrays, replicates=0).per_test


CALLS: dict[str, Callable[[Inputs], Call]] = {
    "grad-dot": lambda i: _attribute(i, attributors.GradDot),
    "grad-cos": lambda i: _attribute(i, attributors.GradCos),
    "tracin-10": _tracin,
    "if-cg": lambda i: _influence(
        i,
        lambda: solvers.ConjugateGradient(
            damping=choice.DAMPING, max_iterations=choice.CG_ITERATIONS, tolerance=0.0
        ),
    ),
    "if-lissa": lambda i: _influence(i, _lissa),
    "if-arnoldi": lambda i: _influence(
        i, lambda: solvers.Lanczos(choice.DAMPING, rank=choice.ARNOLDI_RANK, residual=False)
    ),
    "data-inf": lambda i: _influence(
        i, lambda: solvers.DataInf(choice.DAMPING), curvature.EmpiricalFisher
    ),
    "ek-fac": lambda i: _influence(
        i,
        lambda: solvers.Eigenbasis(choice.FISHER_DAMPING),
        lambda: curvature.EKFAC(labels="empirical"),
    ),
    "fisher": lambda i: _influence(
        i, lambda: solvers.Woodbury(choice.FISHER_DAMPING), curvature.EmpiricalFisher
    ),
    "trak-512": _trak(projections.Rademacher(512)),
    "trak-2048": _trak(projections.Rademacher(2048)),
    "trak-512-sparse": _trak(projections.SparseJL(512)),
    "trak-2048-sparse": _trak(projections.SparseJL(2048)),
    "knn-shapley": lambda i: _attribute(
        i, lambda t: attributors.KNNShapley(t, neighbours=choice.NEIGHBOURS, inputs=True)
    ),
    "lds": _lds(replicates=0),
    "lds-interval": _lds(replicates=1000),
    "auc": _auc,
    "loo": _loo,
}
