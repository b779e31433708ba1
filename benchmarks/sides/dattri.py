"""dattri's side: its attributors as its own experiment script calls them, and its metrics.

As there, influence functions are cached with all training samples in one batch (its Hessians are
those of single batches) and attributed in batches of 500.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dattri.algorithm.data_shapley import KNNShapleyAttributor
from dattri.algorithm.influence_function import (
    IFAttributorArnoldi,
    IFAttributorCG,
    IFAttributorDataInf,
    IFAttributorEKFAC,
    IFAttributorLiSSA,
)
from dattri.algorithm.tracin import TracInAttributor
from dattri.algorithm.trak import TRAKAttributor
from dattri.metric.metrics import lds, loo_corr, mislabel_detection_auc
from dattri.task import AttributionTask
from torch import Tensor, nn

from benchmarks.nets import attributed_layers
from benchmarks.sides import hyperparameters as choice
from benchmarks.sides.inputs import Inputs, State

__all__ = ["CALLS"]

Call = Callable[[], Tensor]
Pair = tuple[Tensor, Tensor]
Loss = Callable[[State, Pair], Tensor]
Projector = dict[str, Any] | None


def _batch_loss(model: nn.Module) -> Loss:
    """Return the mean loss of a batch; that of a sequence is a sum over its positions."""

    def loss(params: State, data: Pair) -> Tensor:
        inputs, labels = data
        logits = torch.func.functional_call(model, params, inputs).flatten(0, -2)
        total = nn.functional.cross_entropy(logits, labels.flatten().long(), reduction="sum")
        return total / len(labels)

    return loss


def _sample_loss(model: nn.Module) -> Loss:
    """Return the loss of one sample."""
    batch_loss = _batch_loss(model)
    return lambda params, data: batch_loss(params, (data[0][None], data[1][None]))


def _sample_margin(model: nn.Module) -> Loss:
    """Return log p/(1-p) of one sample."""
    sample_loss = _sample_loss(model)

    def margin(params: State, data: Pair) -> Tensor:
        log_p = -sample_loss(params, data)
        return log_p - torch.log(1 - torch.exp(log_p))

    return margin


def _tracin(
    projector: Projector, cosine: bool = False, run: bool = False
) -> Callable[[Inputs], Call]:
    """Return the call of its TracIn.

    Args:
        projector: arguments of its random projection; None for its default, 512 dimensions.
        cosine: whether gradients have unit length.
        run: whether the checkpoints are those of the training run, or the one model.
    """

    def prepare(inputs: Inputs) -> Call:
        states = inputs.checkpoints() if run else [inputs.state]
        rates = inputs.array("learning_rates") if run else [1.0]
        weights = torch.tensor(rates, dtype=torch.float32)
        train, test = inputs.train, inputs.test

        def call() -> Tensor:
            model = inputs.make_model()
            task = AttributionTask(model=model, loss_func=_sample_loss(model), checkpoints=states)
            attributor = TracInAttributor(
                task, weights, cosine, projector_kwargs=projector, layer_name=inputs.parameters
            )
            attributor.cache()
            with torch.no_grad():
                return attributor.attribute(train, test)

        return call

    return prepare


def _influence(make: Callable[[AttributionTask], Any]) -> Callable[[Inputs], Call]:
    def prepare(inputs: Inputs) -> Call:
        all_train, train, test = inputs.train_at_once, inputs.train, inputs.test

        def call() -> Tensor:
            model = inputs.make_model()
            task = AttributionTask(
                model=model, loss_func=_batch_loss(model), checkpoints=inputs.state
            )
            attributor = make(task)
            attributor.cache(all_train)
            with torch.no_grad():
                return attributor.attribute(train, test)

        return call

    return prepare


def _trak(dimension: int) -> Callable[[Inputs], Call]:
    def prepare(inputs: Inputs) -> Call:
        # One batch: its projection is drawn anew for every batch.
        train, test = inputs.train_at_once, inputs.test

        def call() -> Tensor:
            model = inputs.make_model()
            sample_loss = _sample_loss(model)
            attributor = TRAKAttributor(
                AttributionTask(
                    model=model, loss_func=_sample_margin(model), checkpoints=[inputs.state]
                ),
                lambda params, data: torch.exp(-sample_loss(params, data)),
                projector_kwargs={"proj_dim": dimension},
                regularization=choice.TRAK_DAMPING,
            )
            attributor.cache(train)
            with torch.no_grad():
                return attributor.attribute(test)

        return call

    return prepare


def _lissa(task: AttributionTask) -> IFAttributorLiSSA:
    return IFAttributorLiSSA(
        task,
        batch_size=choice.LISSA_BATCH,
        recursion_depth=choice.LISSA_DEPTH,
        damping=choice.DAMPING / choice.LISSA_SCALE,  # it is not divided by the scale
        scaling=choice.LISSA_SCALE,
    )


def _knn_shapley(inputs: Inputs) -> Call:
    train, test = inputs.train, inputs.test

    def call() -> Tensor:
        attributor = KNNShapleyAttributor(choice.NEIGHBOURS)
        attributor.cache()
        return attributor.attribute(train, test).T  # it returns (n_test, n_train)

    return call


def _tensors(inputs: Inputs, *names: str) -> list[Tensor]:
    return [torch.from_numpy(inputs.array(name)) for name in names]


def _lds(inputs: Inputs) -> Call:
    scores, outputs, indices = _tensors(inputs, "scores", "subset_outputs", "subset_indices")
    return lambda: lds(scores, (outputs, indices))[0]


def _auc(inputs: Inputs) -> Call:
    values, flipped = _tensors(inputs, "self_influence", "flipped")
    return lambda: torch.as_tensor(mislabel_detection_auc(values, flipped)[0])[None]


def _loo(inputs: Inputs) -> Call:
    scores, removed, without = _tensors(inputs, "scores", "removed", "outputs_without")
    # It takes row i of the scores for removed sample i.
    return lambda: loo_corr(scores[removed], (without, removed))[0]


CALLS: dict[str, Callable[[Inputs], Call]] = {
    "grad-dot": _tracin({"proj_type": "identity"}),
    "grad-dot-default": _tracin(None),
    "grad-cos": _tracin({"proj_type": "identity"}, cosine=True),
    "tracin-10": _tracin({"proj_type": "identity"}, run=True),
    "if-cg": _influence(
        lambda task: IFAttributorCG(
            task, max_iter=choice.CG_ITERATIONS, regularization=choice.DAMPING
        )
    ),
    "if-lissa": _influence(_lissa),
    "if-arnoldi": _influence(
        lambda task: IFAttributorArnoldi(
            task,
            # It takes one product less than it is told. Its last directions are rounding errors,
            # some with negative eigenvalues: all its scores are NaN if it keeps them.
            proj_dim=choice.ARNOLDI_RANK - 5,
            max_iter=choice.ARNOLDI_RANK + 1,
            regularization=choice.DAMPING,
        )
    ),
    "data-inf": _influence(lambda task: IFAttributorDataInf(task, regularization=choice.DAMPING)),
    "ek-fac": _influence(
        lambda task: IFAttributorEKFAC(
            task,
            module_name=attributed_layers(task.get_model()),
            damping=choice.FISHER_DAMPING,
        )
    ),
    "trak-512": _trak(512),
    "trak-2048": _trak(2048),
    "knn-shapley": _knn_shapley,
    "lds": _lds,
    "auc": _auc,
    "loo": _loo,
}
