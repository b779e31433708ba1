"""Which layers have a rule, which parameters they use, and which parameters share one term."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from headwater.attention import Projection
from headwater.gradients.gradients import Scheme
from headwater.gradients.rules import Rule, rule_of
from headwater.parameters import ParameterLayout

Span = tuple[int, int]


@dataclass(frozen=True)
class Use:
    """The name of a module that has a rule, and the selected parameters (and rows) that it uses."""

    module: str
    weight: str | None
    bias: str | None
    weight_rows: Span | None = None
    bias_rows: Span | None = None


@dataclass(frozen=True)
class Layers:
    """The groups of a model's parameters, the uses of each, and the rules by names of modules."""

    scheme: Scheme
    uses: tuple[tuple[Use, ...], ...]
    rules: dict[str, Rule]


def layers_of(model: nn.Module, layout: ParameterLayout) -> Layers:
    """Return how a model uses the selected parameters; tied ones go by their first name."""
    selected = set(layout.names)
    names = {id(p): name for name, p in model.named_parameters() if name in selected}
    rules: dict[str, Rule] = {}
    uses: dict[str, list[Use]] = defaultdict(list)
    for name, module in model.named_modules():
        if (rule := rule_of(module)) is not None:
            use = _use(name, module, model, names)
            for parameter in (use.weight, use.bias):
                if parameter is not None:
                    uses[parameter].append(use)
                    rules[name] = rule
    # A weight is with its bias where no other module uses either; what no rule knows is by module.
    groups: dict[str, list[str]] = defaultdict(list)
    for name in layout.names:
        groups[_home(name, uses, rules)].append(name)
    scheme = Scheme(layout, tuple(map(tuple, groups.values())))
    by_group = ((use for name in group for use in uses.get(name, ())) for group in scheme.groups)
    return Layers(scheme, tuple(tuple(dict.fromkeys(found)) for found in by_group), rules)


def _use(name: str, module: nn.Module, model: nn.Module, names: Mapping[int, str]) -> Use:
    owner, attributes = module, ("weight", "bias")
    spans: tuple[Span, ...] = ()
    if isinstance(module, Projection):
        owner = model.get_submodule(name.rpartition(".")[0])
        attributes = module.parameter, module.bias or ""
        spans = module.rows, module.bias_rows
    own = dict(owner.named_parameters(recurse=False))
    weight, bias = (names.get(id(own.get(attribute))) for attribute in attributes)
    return Use(name, weight, bias, *spans)


def _home(name: str, uses: Mapping[str, list[Use]], rules: Mapping[str, Rule]) -> str:
    if name not in uses:
        return f"module {name.rpartition('.')[0]}"
    weights, biases = ({getattr(use, side) for use in uses[name]} for side in ("weight", "bias"))
    if len(weights) == len(biases) == 1 and all(rules[use.module].joint for use in uses[name]):
        weight, bias = weights.pop(), biases.pop()
        if weight is not None and bias is not None and uses[weight] == uses[bias]:
            return f"weight {weight}"
    return f"weight {name}"
