"""The attribution task of a setting, at trained checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headwater.settings import get_setting
from headwater.task import AttributionTask

__all__ = ["load_task"]


def load_task(setting_name: str, function: str, checkpoints: Sequence[Path]) -> AttributionTask:
    """Return the task that explains one target of a setting, at trained checkpoints."""
    setting = get_setting(setting_name)
    return AttributionTask(
        setting.make_model(),
        loss=setting.loss,
        target=setting.targets[function],
        checkpoints=list(checkpoints),
    )
