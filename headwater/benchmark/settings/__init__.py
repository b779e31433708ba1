"""Settings of the benchmark by name, and any other by its import path.

A name such as "mnist-lr" is that of a module in this folder, which no list repeats. A setting's
module is imported when it is asked for, so that code which only names settings depends on none.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.benchmark.settings.setting import Setting

__all__ = ["get_setting", "module_of_setting", "setting_names"]


def setting_names() -> list[str]:
    """Return the names of the settings in this folder, without importing any."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)} - {"setting"}
    return sorted(name.replace("_", "-") for name in modules)


def module_of_setting(name: str) -> str:
    """Return the module that defines a setting, without importing it.

    Args:
        name: of a setting in this folder, or "package.module:OBJECT".

    Raises:
        ValueError: If there is no such name.

    Example:
        >>> module_of_setting("mnist-lr"), module_of_setting("my_package.digits:SETTING")
        ('headwater.benchmark.settings.mnist_lr', 'my_package.digits')
    """
    return _home(name)[0]


def get_setting(name: str) -> Setting:
    """Import and return a setting.

    Args:
        name: of a setting in this folder, or "package.module:OBJECT" for any other; the module must
            be found by worker processes too, so that it is installed or on `PYTHONPATH`.

    Raises:
        ValueError: If there is no such setting, or the object is something else.
    """
    from headwater.benchmark.settings.setting import Setting  # noqa: PLC0415 - names alone need no PyTorch

    module_name, attribute = _home(name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks something itself
        raise ValueError(
            f"setting {name!r} must name a module that can be imported, got none called "
            f"{error.name!r}: install it, or put its folder on PYTHONPATH"
        ) from None
    setting = getattr(module, attribute, None)
    if not isinstance(setting, Setting):
        kind = type(setting).__name__ if hasattr(module, attribute) else "nothing"
        raise ValueError(
            f"setting {name!r} must name a headwater.benchmark.settings.setting.Setting, got {kind}: "
            f"define {attribute} = Setting(...) in {module_name}"
        )
    return setting


def _home(name: str) -> tuple[str, str]:
    """Return the module and the name in it of a setting."""
    module, colon, attribute = name.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), attribute)):
        return module, attribute
    if name not in setting_names():
        known = ", ".join(setting_names())
        raise ValueError(
            f"setting must be one of {known}, or an import path package.module:OBJECT, got {name!r}: "
            "correct the name"
        )
    return f"{__name__}.{name.replace('-', '_')}", "SETTING"
