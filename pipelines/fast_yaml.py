"""DVC's YAML by the C parser: its own reads a file of parameters anew for every stage, in pure Python.

With a graph of some hundred stages DVC spends minutes in it. What is read is the same, YAML 1.2 as
DVC has it; what is written has the same content, long commands are folded elsewhere.
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

_SCALARS = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
)
"""Plain scalars that are no strings in YAML 1.2; PyYAML itself knows 1.1, where 1e-6 is a string."""


class _Loader(yaml.CSafeLoader):
    """Reads YAML 1.2."""


class _Dumper(yaml.CSafeDumper):
    """Quotes what would be read as something else, and writes nothing by reference."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_OF_1_1 = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag not in _OF_1_1]
    for first, known in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in _SCALARS:
    for _kind in (_Loader, _Dumper):  # the dumper keeps those of 1.1: it quotes what either knows
        _kind.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list(_first)
        )
_Dumper.add_multi_representer(dict, _Dumper.represent_dict)


def loads(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    return yaml.load(text, _Loader)


def dumps(data: object) -> str:
    """Return data as YAML, in the order it has."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def install() -> None:
    """Let DVC read parameters and ``dvc.yaml`` this way in this process."""
    from dvc.dependency import param
    from dvc.utils import serialize
    from dvc.utils.serialize import _yaml

    if isinstance(_yaml.parse_yaml, _Parsed):
        return
    parsed = _Parsed(_yaml.parse_yaml)
    _yaml.parse_yaml = serialize.parse_yaml = parsed
    param.read_param_file = partial(_read_params, parsed, param.read_param_file)


def _read_params(
    parsed: "_Parsed",
    slow: Callable[..., Any],
    fs: Any,
    path: str,
    key_paths: Sequence[str] | None = None,
    flatten: bool = False,
    **options: Any,
) -> Any:
    """Stands in for DVC's ``read_param_file``, which visits every leaf of a file to find one row."""
    if flatten and key_paths and str(path).endswith(".yaml"):
        with suppress(KeyError, TypeError, yaml.YAMLError):  # a pattern, a list, a mistake
            whole = parsed.shared(Path(path).read_text("utf-8"), path)
            return {key: _copied(reduce(getitem, key.split("."), whole)) for key in key_paths}
    return slow(fs, path, key_paths, flatten, **options)


class _Parsed:
    """Stands in for DVC's ``parse_yaml``; a text that was parsed before is not parsed again."""

    def __init__(self, slow: Any) -> None:
        self._slow = slow
        self._seen: dict[str, tuple[str, Any]] = {}

    def __call__(self, text: Any, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return self._slow(text, path, typ)
        try:
            return _copied(self.shared(text, path))
        except yaml.YAMLError:
            return self._slow(text, path, typ)  # which says what is wrong in DVC's words

    def shared(self, text: str, path: str) -> Any:
        """Return what the text holds, which nobody may change."""
        name = os.path.abspath(path)
        known = self._seen.get(name)
        if known is None or known[0] != text:
            known = self._seen[name] = (text, loads(text) or {})
        return known[1]


def _copied(value: Any) -> Any:
    """Return a copy of what a YAML file holds."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
