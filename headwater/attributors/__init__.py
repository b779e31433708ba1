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

    Example:
        >>> module_of("TRAK")
        'headwater.attributors.trak'
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
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        classes |= found
        homes |= dict.fromkeys(found.keys() & _public(tree), path.stem)

    def bases(name: str) -> list[str]:
        node = classes.get(name)
        return [] if node is None else [b.id for b in node.bases if isinstance(b, ast.Name)]

    def derives(name: str) -> bool:
        return name == BASE or any(derives(base) for base in bases(name))

    def abstract(name: str) -> set[str]:
        inherited = {method for base in bases(name) for method in abstract(base)}
        functions = {} if name not in classes else _functions(classes[name])
        return inherited - functions.keys() | {
            f for f, is_abstract in functions.items() if is_abstract
        }

    return {
        name: home
        for name, home in homes.items()
        if name == BASE or (derives(name) and not abstract(name))
    }


def _public(tree: ast.Module) -> set[str]:
    """Return the names in the list `__all__` of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def _functions(node: ast.ClassDef) -> dict[str, bool]:
    """Return the methods of a class, and whether each is abstract."""
    functions = (item for item in node.body if isinstance(item, ast.FunctionDef))
    return {f.name: "abstractmethod" in map(ast.unparse, f.decorator_list) for f in functions}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name in _modules():
        return getattr(importlib.import_module(module_of(name)), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [BASE, *method_names(), "method_names", "module_of"]
