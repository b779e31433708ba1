"""Recipes: constructors and their arguments as plain data, checked by the constructors' type hints.

A part is the name of a class of ours, or an import path ``package.module:Class``; alone, or as
``{kind: Name, argument: value, ...}``. What it takes is what its constructor takes: there is no
other list. An argument whose type is a part (a solver, a curvature, a projection) is a recipe again.
"""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, TypeVar, Union

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

__all__ = [
    "RecipeError", "choices", "classes", "construct", "damping_of", "describe", "find",
    "magnitude_of", "split", "takes",
]  # fmt: skip

T = TypeVar("T")
DAMPINGS = ("damping", "l2")
"""Arguments that may be a list to choose from, or differ by case."""
PLAIN = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
"""How plain values are read: an int where a float is asked for will do, an infinity will not."""


class RecipeError(ValueError):
    """A recipe cannot be built; one line that says where, what must hold and what came."""


def construct(kind: type[T], recipe: Mapping[str, Any], given: Mapping[str, Any], where: str) -> T:
    """Return an object of a class from a recipe.

    Args:
        kind: the class.
        recipe: its arguments.
        given: arguments that the caller has, by name; those that the class does not take are left.
        where: the recipe's place in its file, for errors.

    Raises:
        RecipeError: if an argument is unknown, missing or wrong, or the class refuses them.
    """
    wanted = takes(kind)
    if unknown := sorted(set(recipe) - set(wanted)):
        known = ", ".join(sorted(set(wanted) - set(given))) or "nothing"
        raise RecipeError(f"{where}: {kind.__name__} takes no {unknown[0]!r}, it takes {known}")
    arguments = {name: value for name, value in given.items() if name in wanted}
    for name, value in recipe.items():
        arguments[name] = _value(wanted[name].annotation, value, f"{where}.{name}")
    for name, parameter in wanted.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise RecipeError(f"{where}: {kind.__name__} needs {name!r}, got nothing; add it")
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{where}: {error}") from error


def takes(kind: type) -> dict[str, inspect.Parameter]:
    """Return what the constructor of a class takes, with evaluated type hints."""
    hints = typing.get_type_hints(kind if is_dataclass(kind) else kind.__init__)  # type: ignore[misc]
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.replace(annotation=hints.get(p.name, Any)) for p in parameters}


def find(name: str, kinds: tuple[type, ...], where: str) -> type[Any]:
    """Return the class with a name or an import path, one of the given kinds.

    Raises:
        RecipeError: if there is none; the known names are in the message.
    """
    if ":" in name:
        found = _imported(name, where)
    else:
        found = _known(kinds).get(name)
    if not (inspect.isclass(found) and any(issubclass(found, kind) for kind in kinds)):
        raise RecipeError(
            f"{where} must be one of {', '.join(sorted(_known(kinds)))} or an import path "
            f"package.module:Class of such a class, got {name!r}"
        )
    return found


def classes(kind: type, recipe: Mapping[str, Any], where: str) -> Iterator[type]:
    """Yield the class and those of all parts that a recipe names."""
    yield kind
    for name, value in recipe.items():
        hint = takes(kind)[name].annotation if name in takes(kind) else Any
        for choice in _alternatives(name, value):
            if parts := _part_types(hint, choice):
                part, arguments = split(choice, f"{where}.{name}")
                found = find(part, parts, f"{where}.{name}")
                yield from classes(found, arguments, f"{where}.{name}")


def choices(recipe: dict[str, Any], case: str, where: str) -> list[dict[str, Any]]:
    """Return copies of a recipe, one for each damping of a list; it may be a mapping from cases.

    Raises:
        RecipeError: if a damping that differs by case is not given for this one.
    """
    for name, value in recipe.items():
        found = [value]
        if name in DAMPINGS:
            if isinstance(value, dict) and "kind" not in value:
                if case not in value:
                    raise RecipeError(f"{where}.{name} must be given for {case}, got {value!r}")
                value = value[case]  # noqa: PLW2901
            found = _listed(value)
        elif isinstance(value, dict):
            found = choices(value, case, f"{where}.{name}")
        if len(found) != 1 or found[0] is not recipe[name]:
            return [{**recipe, name: choice} for choice in found]
    return [recipe]


def _alternatives(name: str, value: Any) -> list[Any]:
    """Return all values that an argument may take: several, where it differs by case or is a list."""
    if name not in DAMPINGS:
        return [value]
    by_case = isinstance(value, dict) and "kind" not in value
    return [
        choice for found in (value.values() if by_case else [value]) for choice in _listed(found)
    ]


def _listed(damping: Any) -> list[Any]:
    """Return the dampings to choose from: those of a list, or a part with each of its multiples."""
    if isinstance(damping, dict) and isinstance(damping.get("multiple"), list):
        return [{**damping, "multiple": multiple} for multiple in damping["multiple"]]
    return list(damping) if isinstance(damping, list) and damping else [damping]


def damping_of(recipe: Mapping[str, Any]) -> float | str | None:
    """Return the damping in a recipe, wherever it is: a number, or in words; None: it has none."""
    for name, value in recipe.items():
        if name in DAMPINGS:
            if isinstance(value, Mapping):
                return f"{value.get('multiple'):g} x mean"
            return "auto" if value == "auto" else float(value)
        if isinstance(value, Mapping) and (found := damping_of(value)) is not None:
            return found
    return None


def magnitude_of(recipe: Mapping[str, Any]) -> float | None:
    """Return the damping in a recipe as a number, or as a multiple of the mean; None: it has none."""
    damping = damping_of(recipe)
    return None if damping in (None, "auto") else float(str(damping).partition(" ")[0])


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return an argument: a part that is built, or a plain value that fits the hint."""
    if parts := _part_types(hint, value):
        name, arguments = split(value, where)
        return construct(find(name, parts, where), arguments, {}, where)
    try:
        arms = tuple(arm for arm in _arms(hint) if not _is_part(arm)) or (hint,)
        plain: Any = Union[arms]  # noqa: UP007 - known at run time
        return TypeAdapter(plain, config=PLAIN).validate_python(value)
    except ValidationError as error:
        raise RecipeError(describe(error, where)) from None
    except PydanticSchemaGenerationError:
        raise RecipeError(f"{where} cannot be said in a recipe, got {value!r}") from None


def split(value: Any, where: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a part and its arguments."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and isinstance(value.get("kind"), str):
        return value["kind"], {key: item for key, item in value.items() if key != "kind"}
    raise RecipeError(f"{where} must be a name, or {{kind: name, ...}}, got {value!r}")


def _part_types(hint: Any, value: Any) -> tuple[type, ...]:
    """Return the classes one of which a value must name; none: it is a plain value."""
    parts = tuple(arm for arm in _arms(hint) if _is_part(arm))
    plain = any(not _is_part(arm) and arm is not types.NoneType for arm in _arms(hint))
    return () if value is None or (plain and not isinstance(value, Mapping)) else parts


def _arms(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(inner for arm in typing.get_args(hint) for inner in _arms(arm))
    return (hint,)


def _is_part(hint: Any) -> bool:
    """Return whether a hint is a class that a recipe names: not that of a plain value."""
    named = inspect.isclass(hint) and typing.get_origin(hint) is None
    return named and hint.__module__ not in ("builtins", "typing", "collections.abc")


@cache
def _known(kinds: tuple[type, ...]) -> dict[str, type]:
    """Return the classes of ours that are of one of the kinds, by name."""
    found = {}
    for package in sorted({kind.__module__.rpartition(".")[0] for kind in kinds}):
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", dir(module)):
            value = getattr(module, name)
            concrete = inspect.isclass(value) and not inspect.isabstract(value)
            named = concrete and not getattr(value, "_is_protocol", False)
            if named and any(issubclass(value, k) for k in kinds):
                found[name] = value
    return found


def _imported(path: str, where: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise RecipeError(f"{where} must be package.module:Class, got {path!r} ({error})") from None


def describe(error: ValidationError, where: str = "") -> str:
    """Say in one line what is wrong with which keys."""
    lines = []
    for e in error.errors():
        keys = [where, *(str(part) for part in e["loc"])]
        place = ".".join(key for key in keys if key)
        lines.append(f"{place}: {_reason(e)}".removeprefix(": "))
    return " ".join("; ".join(lines).split())


def _reason(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "value_error":  # a rule over several keys: it says itself what came
        return str(error["msg"]).removeprefix("Value error, ")
    return f"{error['msg']}, got {error['input']!r}"
