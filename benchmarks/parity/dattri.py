"""Against dattri: where its definitions are ours (`benchmarks/README.md` says where they are not)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from dattri.algorithm import influence_function as theirs
from dattri.algorithm.data_shapley import KNNShapleyAttributor
from dattri.algorithm.tracin import TracInAttributor
from dattri.algorithm.trak import TRAKAttributor
from dattri.metric.metrics import lds, loo_corr, mislabel_detection_auc
from dattri.task import AttributionTask as TheirTask
from torch import Tensor, nn

from benchmarks.parity.check import SCORES, Check
from benchmarks.parity.nets import N_TRAIN, SmallProblem, influence, mlp, regression
from headwater import metrics, solvers, targets
from headwater.attributors import TRAK, Attributor, GradCos, GradDot, KNNShapley, TracInCP
from headwater.curvature import EmpiricalFisher, ExactHessian

__all__ = ["CHECKS"]

Pair = tuple[Tensor, Tensor]
Params = dict[str, Tensor]
DAMPING = 0.1
RATES = (0.3, 0.1)


def _batch_loss(model: nn.Module) -> Callable[[Params, Pair], Tensor]:
    def loss(params: Params, data: Pair) -> Tensor:
        inputs, labels = data[0].double(), data[1].long()  # its LiSSA makes both float32
        logits = torch.func.functional_call(model, params, inputs)
        return nn.functional.cross_entropy(logits, labels)

    return loss


def _sample_loss(model: nn.Module) -> Callable[[Params, Pair], Tensor]:
    loss = _batch_loss(model)
    return lambda params, data: loss(params, (data[0][None], data[1][None]))


def _tracin(problem: SmallProblem, cosine: bool = False, run: bool = False) -> Tensor:
    task = TheirTask(
        model=problem.model,
        loss_func=_sample_loss(problem.model),
        checkpoints=problem.states if run else problem.states[-1],
    )
    weights = torch.tensor(RATES if run else (1.0,))
    attributor = TracInAttributor(task, weights, cosine, projector_kwargs={"proj_type": "identity"})
    with torch.no_grad():
        return attributor.attribute(problem.train, problem.test)


def _influence(problem: SmallProblem, kind: Any, **options: Any) -> Tensor:
    """Return its scores, all training samples in one batch."""
    task = TheirTask(
        model=problem.model, loss_func=_batch_loss(problem.model), checkpoints=problem.states[-1]
    )
    attributor = kind(task, **options)
    attributor.cache(problem.train)
    with torch.no_grad():
        return attributor.attribute(problem.train, problem.test)


def _trak() -> Pair:
    problem = mlp()
    sample_loss = _sample_loss(problem.model)

    def margin(params: Params, data: Pair) -> Tensor:
        log_p = -sample_loss(params, data)
        return log_p - torch.log(1 - torch.exp(log_p))

    size = problem.task().layout.size
    attributor = TRAKAttributor(
        TheirTask(model=problem.model, loss_func=margin, checkpoints=problem.states[-1:]),
        lambda params, data: torch.exp(-sample_loss(params, data)),
        projector_kwargs={"proj_type": "identity", "proj_dim": size},
        regularization=DAMPING,
    )
    attributor.cache(problem.train)
    with torch.no_grad():
        found = attributor.attribute(problem.test)
    # Ours is added to the mean Gram matrix of gradients that are not divided by √p.
    return problem.scores(TRAK(problem.task(targets.margin), None, DAMPING * size / N_TRAIN)), found


def _knn_shapley() -> Pair:
    problem = mlp()
    attributor = KNNShapleyAttributor(3)
    found = attributor.attribute(problem.train, problem.test).T
    return -problem.scores(KNNShapley(problem.task(), neighbours=3, inputs=True)), found


def _lds() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    scores, outputs = rng.standard_normal((30, 6)), rng.standard_normal((12, 6))
    indices = np.stack([rng.permutation(30)[:15] for _ in outputs])
    masks = np.zeros((12, 30), dtype=bool)
    np.put_along_axis(masks, indices, True, axis=1)
    ours = metrics.linear_datamodeling_score(scores, masks, outputs, replicates=0).per_test
    found = lds(torch.tensor(scores), (torch.tensor(outputs), torch.tensor(indices)))
    return ours, found[0]


def _auc() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    values, flipped = rng.standard_normal(50), rng.random(50) < 0.3
    ours = metrics.noisy_label_auc(values, flipped, replicates=0).value
    return ours, mislabel_detection_auc(torch.tensor(values), torch.tensor(flipped))[0]


def _loo() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    scores, effects = rng.standard_normal((30, 6)), rng.standard_normal((30, 6))
    ours = metrics.leave_one_out_correlation(
        scores, np.arange(30), -effects, np.zeros(6), replicates=0
    ).per_test
    found = loo_corr(torch.tensor(scores), (torch.tensor(effects), torch.arange(30)))
    return ours, found[0]


def _gradient_checks() -> Iterator[Check]:
    problem, rates = mlp(), RATES
    pairs = {
        "Grad-Dot": lambda: (GradDot(problem.task()), _tracin(problem)),
        "Grad-Cos": lambda: (GradCos(problem.task()), _tracin(problem, cosine=True)),
        "TracInCP, two checkpoints": lambda: (
            TracInCP(problem.task(run=True), rates),
            _tracin(problem, run=True),
        ),
    }
    for name, pair in pairs.items():
        yield Check(name, lambda p=pair: _opposite(problem, *p()), SCORES)


def _opposite(problem: SmallProblem, attributor: Attributor, found: Tensor) -> Pair:
    return -problem.scores(attributor), found


def _influence_checks() -> Iterator[Check]:
    net, convex = mlp(), regression()
    yield Check(
        "influence function, explicit",
        lambda: (
            influence(net, solvers.Explicit(DAMPING), ExactHessian()),
            _influence(net, theirs.IFAttributorExplicit, regularization=DAMPING),
        ),
        SCORES,
    )
    yield Check(
        "influence function, conjugate gradients",
        lambda: (
            influence(convex, solvers.ConjugateGradient(DAMPING, 100, 1e-12)),
            _influence(convex, theirs.IFAttributorCG, regularization=DAMPING, max_iter=13),
        ),
        1e-6,  # it is stopped before it divides 0 by 0
    )
    lissa = {"recursion_depth": 30, "damping": DAMPING / 10, "scaling": 10.0}
    yield Check(
        "influence function, LiSSA on all samples",
        lambda: (
            influence(net, solvers.LiSSA(DAMPING, scale=10.0, depth=30, batch_size=N_TRAIN)),
            _influence(net, theirs.IFAttributorLiSSA, batch_size=N_TRAIN, **lissa),
        ),
        1e-5,  # it rounds the samples to float32
    )
    yield Check(
        "DataInf",
        lambda: (
            influence(net, solvers.DataInf(DAMPING), EmpiricalFisher()),
            _influence(net, theirs.IFAttributorDataInf, regularization=DAMPING),
        ),
        SCORES,
    )


CHECKS = (
    *_gradient_checks(),
    *_influence_checks(),
    Check("TRAK without projection", _trak, SCORES),
    Check("KNN-Shapley", _knn_shapley, SCORES),
    Check("LDS", _lds),
    Check("AUC", _auc),
    Check("LOO correlation", _loo),
)
"""Scores of theirs carry the opposite sign, and influence functions are n times ours."""
