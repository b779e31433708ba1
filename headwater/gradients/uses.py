"""Which modules use which parameters, and which parameters share one term."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import nn

from headwater.attention import Projection
from headwater.gradients.gradients import Scheme
from headwater.gradients.rules import rule_of
from headwater.parameters import ParameterLayout

__all__ = ["Use", "scheme_of", "uses_of"]

Span = tuple[int, int]


@dataclass(frozen=True)
class Use:
    """A module that has a rule, and the parameters that it works with.

    Args:
        module: its name.
        weight: the name of its weight; None: it has none, or it is not selected.
        bias: the same of its bias.
        weight_rows: which rows of the weight it uses; None: all.
        bias_rows: which entries of the bias it uses; None: all.
    """

    module: str
    weight: str | None
    bias: str | None
    weight_rows: Span | None = None
    bias_rows: Span | None = None


def uses_of(model: nn.Module, selected: Collection[str]) -> dict[str, list[Use]]:
    """Return how each selected parameter is used, by its (first) name; none: by no known layer."""
    names = {id(p): name for name, p in model.named_parameters()}
    found: dict[str, list[Use]] = defaultdict(list)
    for name, module in model.named_modules():
        if rule_of(module) is None:
            continue
        use = _use(name, module, model, names, selected)
        for parameter in (use.weight, use.bias):
            if parameter is not None:
                found[parameter].append(use)
    return dict(found)


def _use(
    name: str,
    module: nn.Module,
    model: nn.Module,
    names: Mapping[int, str],
    selected: Collection[str],
) -> Use:
    owner, weight, bias = module, "weight", "bias"
    spans: tuple[Span | None, Span | None] = (None, None)
    if isinstance(module, Projection):
        owner = model.get_submodule(name.rpartition(".")[0])
        weight, bias = module.parameter, module.bias or ""
        spans = module.rows, module.bias_rows
    own = dict(owner.named_parameters(recurse=False))

    def selected_name(attribute: str) -> str | None:
        found = names.get(id(own[attribute])) if attribute in own else None
        return found if found in selected else None

    return Use(name, selected_name(weight), selected_name(bias), *spans)


def scheme_of(
    layout: ParameterLayout, uses: Mapping[str, list[Use]], joint: Collection[str]
) -> Scheme:
    """Return the groups of parameters: a weight with its bias, where no other module uses either.

    Parameters that no rule knows are one group per module. The groups follow from the model alone,
    whatever function is differentiated.

    Args:
        layout: the selected parameters.
        uses: from `uses_of`.
        joint: the names of modules whose rule can hold weight and bias in one term.
    """
    groups: dict[str, list[str]] = {}
    for name in layout.names:
        groups.setdefault(_home(name, uses, joint), []).append(name)
    return Scheme(layout, tuple(tuple(group) for group in groups.values()))


def _home(name: str, uses: Mapping[str, list[Use]], joint: Collection[str]) -> str:
    """Return what all parameters of a group have in common."""
    if name not in uses:
        return f"module {name.rpartition('.')[0]}"
    weights, biases = ({getattr(use, side) for use in uses[name]} for side in ("weight", "bias"))
    if len(weights) == len(biases) == 1 and all(use.module in joint for use in uses[name]):
        weight, bias = weights.pop(), biases.pop()
        if weight is not None and bias is not None and uses[weight] == uses[bias]:
            return f"weight {weight}"
    return f"weight {name}"
