"""All of params.yaml checked before any work: types, names, and that every recipe can be built."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import ValidationError

from headwater.attributors.attributor import Attributor
from headwater.attributors.gradient_attributor import GradientAttributor
from headwater.benchmark.recipes import END
from headwater.benchmark.settings import get_setting
from headwater.benchmark.training.training import check_epochs
from stages.methods import GIVEN, attributor_class, make_attributor
from stages.params import Method, Params, Setting, Store
from stages.recipes import describe, takes
from stages.row import read
from stages.task import make_projection, make_task

__all__ = ["check_params", "load_params"]

NOWHERE = torch.device("meta")  # where models are made that are only looked at


def load_params(path: Path) -> Params:
    """Read params.yaml and check its types; ValueError, in one line, if anything is wrong."""
    try:
        return Params.model_validate(read(path))
    except ValidationError as error:
        raise ValueError(f"{path}: {describe(error)}") from None


def check_params(params: Params, folders: set[str]) -> None:
    """Check what is said in several places, and build every method once without data.

    Folders are the settings that have a graph; those that params.yaml does not name are not made.
    ValueError, in one line, if anything is wrong.
    """
    for name in sorted(set(params.settings) - folders):
        raise ValueError(
            f"settings.{name} must have a folder settings/{name}, got none; copy that of another setting"
        )
    for place, name, known in _names(params):
        if name not in known:
            raise ValueError(f"{place} must be one of {', '.join(sorted(known))}, got {name!r}")
    for name, store in params.stores.items():
        make_projection(store, f"stores.{name}")
    for setting_name, setting in params.settings.items():
        for family, checkpoints in setting.train.items():
            try:
                check_epochs(get_setting(setting.setting), checkpoints.epochs)
            except ValueError as error:
                raise ValueError(f"settings.{setting_name}.train.{family}: {error}") from None
        for name, method in params.methods.items():
            store = params.stores[method.store]
            if method.feasible(setting_name) and store.feasible(setting_name):
                _check_method(f"methods.{name}", method, store, setting_name, setting)


def _names(params: Params) -> Iterator[tuple[str, str, set[str]]]:
    """Yield every place that names a setting or a store, with the name and the known ones."""
    settings, stores = set(params.settings), set(params.stores)
    yield from (("benchmark", name, settings) for name in params.benchmark)
    for key, method in params.methods.items():
        yield f"methods.{key}.store", method.store, stores
    for name, setting in params.settings.items():
        able = {k for k, m in params.methods.items() if _made(params, name, m)}
        for key in setting.removal.methods:
            yield f"settings.{name}.removal.methods", key, able
        for key, store in params.stores.items():
            if store.feasible(name):
                yield f"stores.{key}.checkpoints on {name}", store.checkpoints, set(setting.train)
    for group in ("stores", "methods"):
        for key, thing in getattr(params, group).items():
            for name in thing.infeasible:
                yield f"{group}.{key}: a setting", name, settings
            for pattern in thing.only or ():
                found = fnmatch.filter(settings, pattern)
                yield f"{group}.{key}: a setting", found[0] if found else pattern, settings


def _made(params: Params, name: str, method: Method) -> bool:
    """Return whether a method and its store are made for a setting."""
    store = params.stores.get(method.store)
    return method.feasible(name) and store is not None and store.feasible(name)


def _check_method(where: str, method: Method, store: Store, name: str, setting: Setting) -> None:
    available = store.trained(setting.train) * store.masks
    if method.count > available:
        raise ValueError(
            f"{where}.count must be at most {available}, the checkpoints of store {method.store} on "
            f"{name}, got {method.count}"
        )
    kind = attributor_class(method, where)
    made = {}
    for argument in sorted(GIVEN.keys() & takes(kind).keys()):
        family = setting.train[store.checkpoints]
        if GIVEN[argument].finished and family.epochs != [END]:
            raise ValueError(
                f"{where}: {kind.__name__} takes {argument}, which checkpoints at the end of their runs "
                f"have, got store {method.store} with {store.checkpoints} after {family.epochs}"
            )
        made[argument] = GIVEN[argument].blank(method.count)
    trained = -(-method.count // store.masks)
    task = make_task(setting.setting, store.function, trained, store.masks, NOWHERE)
    for arguments in method.candidates(name, where):
        attributor = make_attributor(kind, arguments, task, made, store.form, where)
        _check_store(where, attributor, method, store)


def _check_store(where: str, attributor: Attributor, method: Method, store: Store) -> None:
    """Check that the store holds the gradients that an attributor works on, if it takes any."""
    if not isinstance(attributor, GradientAttributor):
        return
    kind = type(attributor).__name__
    if attributor.train_function is not attributor.task.target:
        raise ValueError(
            f"{where}: {kind} takes the gradients of another function than {store.function}, which "
            f"store {method.store} holds; name a store of the function that it works on"
        )
    if store.form == "projected" and not attributor.takes_projected:
        raise ValueError(
            f"{where}: {kind} with this curvature works on whole gradients, got store {method.store}, "
            "which is projected; name a factored one"
        )
