"""Which source files a module runs when it is imported, from the import statements alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
PACKAGES = ("headwater", "stages", "pipelines")


@cache
def import_graph() -> grimp.ImportGraph:
    """Return the graph of all imports that are executed (not those for type checkers)."""
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)


@cache
def closure(*modules: str) -> frozenset[str]:
    """Return the files, relative to the repository, that importing the modules runs."""
    graph, todo, found = import_graph(), list(modules), set()
    while todo:
        module = todo.pop()
        if module in found:
            continue
        found.add(module)
        parts = module.split(".")
        todo += [".".join(parts[:i]) for i in range(1, len(parts))]  # packages run first
        todo += graph.find_modules_directly_imported_by(module)
    return frozenset(str(file_of(module)) for module in found)


def file_of(module: str) -> Path:
    """Return the source file of a module, relative to the repository."""
    path = Path(*module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")
