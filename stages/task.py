"""The attribution task of a setting, at trained checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headwater.dropout_ensemble import dropout_ensemble
from headwater.settings import get_setting
from headwater.task import AttributionTask

__all__ = ["load_task"]


def load_task(
    setting_name: str, function: str, checkpoints: Sequence[Path], masks: int
) -> AttributionTask:
    """Return the task that explains one target of a setting, at trained checkpoints.

    Several masks: as many sub-networks by dropout of each checkpoint, one after the other.
    """
    setting = get_setting(setting_name)
    task = AttributionTask(
        setting.make_model(),
        loss=setting.loss,
        target=setting.targets[function],
        checkpoints=list(checkpoints),
    )
    return task if masks == 1 else dropout_ensemble(task, masks)
