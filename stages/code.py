"""Stage code: params.yaml checked, which files every run of every stage imports, what is left out.

A stage's one dependency on code is the file that this stage writes for it: the files of its import
closure with their hashes. It changes when one of these files does, and only then. No list is written
by hand: the imports say it (those inside functions as well), and a recipe the classes it names.
Where the budget leaves a run out, its file says so too: a change of that runs just this one again.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from headwater.attributors import module_of
from headwater.benchmark.settings import module_of_setting
from stages.budget import plan_setting
from stages.check import check_params, load_params
from stages.files import atomic
from stages.methods import GIVEN, attributor_class
from stages.params import OVER_BUDGET, Method, Params
from stages.recipes import classes, takes
from stages.task import projection_class

SHARED = ("stages.__main__", "stages.contract")
PLAIN = ("data", "train", "retrain", "truth", "removal", "explore")
"""The stages of a setting that run no method."""


def main(*, params: Path, settings: Path, sources: list[Path], out: Path) -> None:
    """Check params.yaml, and write the import closure of every run of every stage."""
    found = load_params(params)
    check_params(found, {path.parent.name for path in settings.glob("*/dvc.yaml")})
    over = dict(_over_budget(found, sources))
    with atomic(out) as partial:
        for name, modules in sorted(_runs(found)):
            path = partial / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            closure = {**fingerprint([*SHARED, *modules], sources)}
            if name in over:
                closure[f"{OVER_BUDGET}{name}"] = over[name]
            path.write_text(json.dumps(closure, indent=0, sort_keys=True) + "\n")


def _runs(params: Params) -> Iterator[tuple[str, list[str]]]:
    """Yield every run of a stage, as the name of its file, with the modules that it starts from."""
    yield "report", ["stages.report"]
    yield "summary", ["stages.summary"]
    for setting, sizes in params.settings.items():
        own = module_of_setting(sizes.setting)
        for stage in PLAIN:
            yield f"{setting}/{stage}", [f"stages.{stage}", own]
        yield f"{setting}/evaluate", ["stages.evaluate"]
        for name, store in params.stores.items():
            projection = [projection_class(store, name).__module__] if store.projection else []
            yield f"{setting}/gradients/{name}", ["stages.gradients", own, *projection]
        for name, method in params.methods.items():
            parts = list(_of_method(f"methods.{name}", method))
            yield f"{setting}/solve/{name}", ["stages.solve", own, *parts]
            yield f"{setting}/score/{name}", ["stages.score", own, *parts]


def sources_of_plan(setting: str, sources: Iterable[Path]) -> str:
    """Return a hash of all that figures of a setting's model depend on."""
    files = fingerprint(["headwater.benchmark.plan", module_of_setting(setting)], sources)
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def _over_budget(params: Params, sources: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield every run that the budget leaves out, with the reason."""
    for name, sizes in params.settings.items() if params.budget else ():
        for needs in plan_setting(name, params, sources_of_plan(sizes.setting, sources)):
            if needs.over and needs.stage != "score":  # which follows solve
                what = f"store {needs.key} " if needs.stage == "gradients" else ""
                yield f"{name}/{needs.stage}/{needs.key}", f"{what}{needs.over}"


def _of_method(where: str, method: Method) -> Iterator[str]:
    """Yield the modules of the classes that a recipe names, and of what the workflow gives them."""
    kind = attributor_class(method, where)
    for part in classes(kind, method.model_extra or {}, where):
        yield part.__module__
    for name in GIVEN.keys() & takes(kind).keys():
        yield GIVEN[name].make.partition(":")[0]


def fingerprint(modules: Iterable[str], sources: Iterable[Path]) -> Mapping[str, str]:
    """Return the files that importing the modules runs, each with a hash; installed ones by version.

    Raises:
        ValueError: if a file of this project is in none of the sources, which DVC watches.
    """
    roots, found, todo, seen = {str(path) for path in sources}, {}, list(modules), set()
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        top = module.partition(".")[0]
        if (path := _file(module)) is None:
            found[top] = _version(top)
            continue
        if top not in roots:
            raise ValueError(
                f"{module} must lie in a folder that stage code watches ({', '.join(sorted(roots))}), "
                f"got {path}; add {top} to the deps and the --sources of code in dvc.yaml"
            )
        assets = sorted(path.parent.glob("assets/*")) if path.name == "__init__.py" else []
        for file in (path, *assets):  # what a package ships beside its modules belongs to it
            found[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        parts = module.split(".")
        todo += [".".join(parts[:i]) for i in range(1, len(parts))]  # packages run first
        todo += imports(module)
    return found


@cache
def _version(package: str) -> str:
    names = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(names[0]) if names else "?"


def _file(module: str) -> Path | None:
    """Return the source file of a module of this project."""
    path = Path(*module.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of this project that a module imports when it runs, function by function."""
    path = _file(module)
    assert path is not None
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in _run_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found.update([base, *(_imported(base, name.name) for name in node.names)])
    return frozenset(m for m in found if _file(m))


def _imported(base: str, name: str) -> str:
    """Return the module that ``from base import name`` runs beside `base`, if there is one."""
    if base == "headwater.attributors":  # it loads its names on first use
        with suppress(ValueError):
            return module_of(name)
    return f"{base}.{name}"


def _run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below one, but for what only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from _run_nodes(other)
        else:
            yield child
            yield from _run_nodes(child)
