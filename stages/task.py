"""From names in params.yaml to a task and to the projection of a store."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from headwater.benchmark.settings import get_setting
from headwater.checkpoints import Checkpoint
from headwater.dropout_ensemble import dropout_ensemble
from headwater.projections import GradientProjection
from headwater.task import AttributionTask
from stages.params import Store
from stages.recipes import construct, find, split

__all__ = ["make_projection", "make_task", "projection_class"]


def make_task(
    setting_name: str,
    function: str,
    checkpoints: Sequence[Checkpoint] | int,
    masks: int,
    device: torch.device,
) -> AttributionTask:
    """Return the task that explains one target of a setting.

    Args:
        setting_name: a name or an import path of a setting.
        function: a name of its targets.
        checkpoints: of trained models; a number: as many times the parameters of a fresh one.
        masks: several: as many sub-networks by dropout of each checkpoint, one after the other.
        device: where the model is.
    """
    setting = get_setting(setting_name)
    with device if device.type == "meta" else torch.device("cpu"):
        model = setting.make_model().to(device)
    if isinstance(checkpoints, int):
        checkpoints = [model.state_dict()] * checkpoints
    task = AttributionTask(model, setting.loss, setting.targets[function], list(checkpoints))
    return task if masks == 1 else dropout_ensemble(task, masks)


def projection_class(store: Store, where: str) -> type[GradientProjection]:
    """Return the class that the recipe of a store names."""
    name, _ = split(store.projection, f"{where}.projection")
    return find(name, (GradientProjection,), f"{where}.projection")


def make_projection(store: Store, where: str) -> GradientProjection | None:
    """Return the projection of a store; None where its gradients are kept whole."""
    if store.projection is None:
        return None
    _, arguments = split(store.projection, f"{where}.projection")
    return construct(projection_class(store, where), arguments, {}, f"{where}.projection")
