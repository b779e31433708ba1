"""Settings of the benchmark by name.

Only names stand here: a setting's own module is imported when it is asked for, so that code which
lists settings does not depend on the source of any of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from headwater.settings.setting import Setting

__all__ = ["SETTINGS", "SettingModules", "get_setting"]


class SettingModules(NamedTuple):
    """Source modules of one setting: in `headwater.settings`, `.models` and `.datasets`."""

    module: str
    model: str
    dataset: str


SETTINGS: dict[str, SettingModules] = {
    "mnist-lr": SettingModules(module="mnist_lr", model="logistic_regression", dataset="mnist"),
    "mnist-mlp": SettingModules(module="mnist_mlp", model="mlp", dataset="mnist"),
}


def get_setting(name: str) -> Setting:
    """Import and return the setting called `name`.

    Raises:
        ValueError: If no setting has this name.
    """
    if name not in SETTINGS:
        known = ", ".join(sorted(SETTINGS))
        raise ValueError(f"setting must be one of {known}, got {name!r}: correct the name")
    module = importlib.import_module(f"headwater.settings.{SETTINGS[name].module}")
    setting: Setting = module.SETTING
    return setting
