"""Sub-networks of one model as an ensemble: fixed dropout masks at the time of attribution."""

import copy
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from headwater.checkpoints import Checkpoint, load_checkpoint
from headwater.checks import check_positive
from headwater.hashing import hash32
from headwater.task import AttributionTask

CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
KNOWN = (nn.Dropout, *CHANNELS)
UNKNOWN = (nn.AlphaDropout, nn.FeatureAlphaDropout)


class FixedDropout(nn.Module):
    """Drop the same units of every sample, in any mode: the mask is a function of the key alone.

    Unit u of a sample (u counts the places of one sample's input, or its channels) is kept when
    hash(key, u) ≥ p · 2^32, and divided by 1 - p.
    """

    key: Tensor

    def __init__(self, p: float, channels: bool = False) -> None:
        super().__init__()
        self.p, self.channels = p, channels
        self.register_buffer("key", torch.zeros((), dtype=torch.int32))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs (n, ...) with the same units of every sample dropped."""
        shape = inputs.shape[1:]
        if self.channels:
            shape = torch.Size((shape[0], *(1 for _ in shape[1:])))
        # Words are uniform on [-2^31, 2^31).
        threshold = round(self.p * (1 << 32)) - (1 << 31)
        keep = (hash32(self.key, shape.numel()) >= threshold).view(shape)
        return inputs * keep.to(inputs.dtype).mul_(1.0 / (1.0 - self.p))

    def extra_repr(self) -> str:
        """Return the probability for printing."""
        return f"p={self.p}"


def dropout_ensemble(task: AttributionTask, masks: int, seed: int = 0) -> AttributionTask:
    """Return a task with `masks` sub-networks of each checkpoint in place of the checkpoint.

    Every Dropout module is active, with its own p, and a mask drawn from (seed, mask, module) that
    is the same for every sample. Checkpoint c · masks + d of the result is checkpoint c under mask d.
    Dropout that is called as a function, not as a module, stays off; in sequences the mask covers all
    positions, so they must be padded to one length.

    Raises:
        ValueError: if the model has no Dropout modules that could be fixed.

    Reference:
        Deng et al., Efficient Ensembles Improve Training Data Attribution, 2024.
    """
    check_positive("masks", masks)
    original = copy.deepcopy(task.bind(0).module)
    model = copy.deepcopy(original)
    names = _fix(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in task.layout.names)
    checkpoints: list[Checkpoint] = [
        partial(_load, checkpoint, original, _keys(names, seed, d))
        for checkpoint in task.checkpoints
        for d in range(masks)
    ]
    budget = task.memory_budget
    return AttributionTask(model, task.loss, task.target, checkpoints, memory_budget=budget)


def _fix(model: nn.Module) -> dict[str, str]:
    """Replace the Dropout modules of a model; return their names, and the first name of each."""
    fixed: dict[nn.Module, tuple[str, FixedDropout]] = {}
    names: dict[str, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, UNKNOWN) or (isinstance(module, KNOWN) and module.p == 1):
            raise ValueError(
                "dropout must be Dropout or Dropout1d to 3d with p < 1, got "
                f"{type(module).__name__} with p={module.p} in {name!r}; replace it in the model"
            )
        if isinstance(module, KNOWN) and module.p > 0:
            new = FixedDropout(module.p, isinstance(module, CHANNELS))
            names[name], _ = fixed.setdefault(module, (name, new))
    if not names:
        raise ValueError(
            "the model must have Dropout modules with p > 0, got none; "
            "use an ensemble of trained models instead"
        )
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, fixed[model.get_submodule(name)][1])
    return names


def _keys(names: Mapping[str, str], seed: int, mask: int) -> dict[str, Tensor]:
    """Return the key of every module under one mask; it hangs on the module's first name."""
    keys = {}
    for name, first in names.items():
        entropy = np.random.SeedSequence([seed, mask], spawn_key=tuple(first.encode()))
        word = int(entropy.generate_state(1, np.uint32)[0]) - (1 << 31)
        keys[f"{name}.key"] = torch.tensor(word, dtype=torch.int32)
    return keys


def _load(
    checkpoint: Checkpoint, model: nn.Module, keys: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    return {**load_checkpoint(checkpoint, model), **keys}
