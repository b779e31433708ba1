"""The logits in what a model returns, whichever way it returns them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["empty_output", "logits_of", "replace_logits"]


def logits_of(output: Any) -> Tensor:
    """Return the logits z in the output of a model.

    Args:
        output: a tensor; an object with the attribute `logits` (a `ModelOutput` of transformers); a
            mapping with the key "logits"; or a tuple or list whose first entry they are.

    Returns:
        The tensor itself, no copy.

    Raises:
        ValueError: if the output is none of these.

    Example:
        >>> import torch
        >>> logits_of({"logits": torch.ones(2, 3), "hidden": None}).shape
        torch.Size([2, 3])
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
        raise ValueError(
            "the model must return its logits as a tensor, as .logits, under the key 'logits' or first "
            f"in a tuple, got {_described(output)}; wrap the model so that it returns one of these"
        )
    return found


def replace_logits(output: Any, logits: Tensor) -> Any:
    """Return an output of the same kind with other logits, and everything else as it is.

    Args:
        output: what `logits_of` accepts, or what `empty_output` returned.
        logits: what takes their place.

    Returns:
        A tensor, mapping, tuple or object of the type of `output`, which is left as it is.

    Raises:
        ValueError: if the output is no place for logits.

    Example:
        >>> import torch
        >>> replace_logits((torch.ones(2), "rest"), torch.zeros(2))
        (tensor([0., 0.]), 'rest')
    """
    kind: Any = type(output)
    if isinstance(output, Tensor):
        return logits
    if dataclasses.is_dataclass(output) and hasattr(output, "logits"):
        return dataclasses.replace(output, logits=logits)  # type: ignore[type-var]
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        names: tuple[str, ...] = output._fields
        entry = names.index("logits") if "logits" in names else 0
        return kind(*output[:entry], logits, *output[entry + 1 :])
    if isinstance(output, (tuple, list)):
        return kind([logits, *output[1:]])
    changed = copy.copy(output)
    if isinstance(output, Mapping) and "logits" in output:
        changed["logits"] = logits
    elif not hasattr(output, "logits"):
        logits_of(output)  # refuses it
    if hasattr(output, "logits"):
        changed.logits = logits
    return changed


def empty_output(output: Any) -> Any:
    """Return an output of the same kind that holds nothing: every entry None.

    With `replace_logits` it becomes an output that is known to depend on the logits alone.

    Args:
        output: what `logits_of` accepts.

    Returns:
        A mapping, tuple or object of the type of `output`; a tensor is returned as one without numbers.

    Example:
        >>> import torch
        >>> empty_output({"logits": torch.ones(2, 3), "hidden": torch.ones(2, 9)})
        {'logits': None, 'hidden': None}
    """
    kind: Any = type(output)
    if isinstance(output, Tensor):
        return torch.empty(0)
    if dataclasses.is_dataclass(output):
        names = [field.name for field in dataclasses.fields(output) if field.init]
        return dataclasses.replace(output, **dict.fromkeys(names))  # type: ignore[type-var]
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return kind(*[None] * len(output))
    if isinstance(output, (tuple, list)):
        return kind([None] * len(output))
    emptied = copy.copy(output)
    if isinstance(output, Mapping):
        for name in output:
            emptied[name] = None
    else:
        vars(emptied).update(dict.fromkeys(vars(output)))
    return emptied


def _described(output: Any) -> str:
    kind = type(output).__name__
    return f"{kind} with {', '.join(map(str, output))}" if isinstance(output, Mapping) else kind
