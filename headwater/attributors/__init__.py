"""Attributors: one file per family of methods, each a short composition of the parts.

A method is found by its file: this package names none. Names are imported on first use, so that a
workflow stage depends on the file of its own method only.
"""

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import Any


def module_of(name: str) -> str:
    """Return the module that defines an attributor, without importing it; ValueError if none does."""
    if name not in _modules():
        known = ", ".join(method_names())
        raise ValueError(f"attributor must be one of {known}, got {name!r}: correct the name")
    return f"{__name__}.{_modules()[name]}"


def method_names() -> list[str]:
    """Return the names of all methods, from A to Z, without importing any."""
    return sorted(_modules().keys() - {"Attributor"})


@cache
def _modules() -> dict[str, str]:
    """Return the file of each class that the ``__all__`` of a file names: methods, and their base."""
    homes: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        classes = {node.name for node in body if isinstance(node, ast.ClassDef)}
        for node in body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                public = classes.intersection(ast.literal_eval(node.value))
                homes |= dict.fromkeys(public, path.stem)
    return homes


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name in _modules():
        return getattr(importlib.import_module(module_of(name)), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["Attributor", *method_names(), "method_names", "module_of"]
