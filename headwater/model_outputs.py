"""The logits in what a model returns, whichever way it returns them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def logits_of(output: Any) -> Tensor:
    """Return the logits z in the output of a model.

    The output is a tensor; an object with the attribute `logits` (a `ModelOutput` of transformers); a
    mapping with the key "logits"; or a tuple or list whose first entry they are. The tensor is no copy.
    ValueError if the output is none of these.
    """
    if isinstance(output, Tensor):
        return output
    found = None
    if hasattr(output, "logits"):
        found = output.logits
    elif isinstance(output, Mapping):
        found = output.get("logits")
    elif isinstance(output, (tuple, list)) and output:
        found = output[0]
    if not isinstance(found, Tensor):
        got = type(output).__name__
        if isinstance(output, Mapping):
            got += f" with {', '.join(map(str, output))}"
        raise ValueError(
            "the model must return its logits as a tensor, as .logits, under the key 'logits' or first "
            f"in a tuple, got {got}; wrap the model so that it returns one of these"
        )
    return found


def replace_logits(output: Any, logits: Tensor) -> Any:
    """Return a copy of an output, or of what `empty_output` made of it, with other logits."""
    if isinstance(output, Tensor):
        return logits
    if hasattr(output, "logits") or (isinstance(output, Mapping) and "logits" in output):
        return _replaced(output, {"logits": logits})
    if isinstance(output, (tuple, list)):
        return _replaced(output, {next(iter(_names(output))): logits})
    return logits_of(output)  # refuses it


def empty_output(output: Any) -> Any:
    """Return an output of the same kind that holds only None, to `replace_logits` in."""
    if isinstance(output, Tensor):
        return torch.empty(0)
    return _replaced(output, dict.fromkeys(_names(output)))


def _names(output: Any) -> Iterable[Any]:
    """Return the names of the entries of an output; of a plain sequence, their places."""
    if dataclasses.is_dataclass(output):
        return [field.name for field in dataclasses.fields(output) if field.init]
    if isinstance(output, (tuple, list)):
        return getattr(output, "_fields", range(len(output)))
    return output if isinstance(output, Mapping) else vars(output)


def _replaced(output: Any, entries: Mapping[Any, Any]) -> Any:
    if dataclasses.is_dataclass(output):
        return dataclasses.replace(output, **entries)  # type: ignore[type-var]
    if hasattr(output, "_replace"):  # a named tuple
        return output._replace(**entries)
    if isinstance(output, (tuple, list)):
        return type(output)([entries.get(place, entry) for place, entry in enumerate(output)])
    changed = copy.copy(output)
    for name, entry in entries.items():
        if isinstance(output, Mapping) and name in output:
            changed[name] = entry
        if not isinstance(output, Mapping) or (name == "logits" and hasattr(output, name)):
            setattr(changed, name, entry)  # an item may be an attribute as well
    return changed
