"""Attributors: one file per family of methods, each a short composition of the parts.

A method is found by its file: this package names none. Names are imported on first use, so that a
workflow stage depends on the file of its own method only.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from typing import Any

BASE = "Attributor"


def module_of(name: str) -> str:
    """Return the module that defines an attributor, without importing it.

    Raises:
        ValueError: if there is no attributor with this name.
    """
    if name not in _modules():
        known = ", ".join(method_names())
        raise ValueError(f"attributor must be one of {known}, got {name!r}: correct the name")
    return f"{__name__}.{_modules()[name]}"


def method_names() -> list[str]:
    """Return the names of all methods, from A to Z, without importing any."""
    return sorted(name for name in _modules() if name != BASE)


@cache
def _modules() -> dict[str, str]:
    """Return the file of the base class and of each public class that derives from it to be used.

    A class with an abstract method is not to be used as it is.
    """
    homes: dict[str, str] = {}
    classes: dict[str, ast.ClassDef] = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                homes |= dict.fromkeys(ast.literal_eval(node.value), path.stem)

    def lineage(name: str) -> list[str]:
        """Return a class and all that it derives from, bases first."""
        bases = [ast.unparse(base) for base in classes[name].bases] if name in classes else []
        return [*dict.fromkeys(ancestor for base in bases for ancestor in lineage(base)), name]

    def abstract(name: str) -> bool:
        """Whether a method is abstract in the last class of the lineage that has it."""
        bodies = [classes[kind].body for kind in lineage(name) if kind in classes]
        methods = [item for body in bodies for item in body if isinstance(item, ast.FunctionDef)]
        last = {f.name: "abstractmethod" in map(ast.unparse, f.decorator_list) for f in methods}
        return any(last.values())

    def usable(name: str) -> bool:
        return name == BASE or (name in classes and BASE in lineage(name) and not abstract(name))

    return {name: home for name, home in homes.items() if usable(name)}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name in _modules():
        return getattr(importlib.import_module(module_of(name)), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [BASE, *method_names(), "method_names", "module_of"]
