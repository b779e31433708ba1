"""A new sample: read from a file, with the label that is explained."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from headwater.task import AttributionTask
from pipelines.query.kinds import kind_of
from pipelines.query.made import Made

__all__ = ["describe", "label_of", "name_of", "predicted", "read_sample"]

TENSORS = ".safetensors"
"""Files that hold samples of any setting: `inputs` (1, ...) and `labels` (1, ...)."""


def read_sample(path: Path, made: Made) -> tuple[Tensor, Tensor | None]:
    """Return inputs (1, ...) and labels (1, ...) of a file; None: it has no label.

    Raises:
        ValueError: if the file does not hold one sample of the setting.
        FileNotFoundError: if there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file with a new sample, found none: correct it")
    kind, shape = kind_of(made.setting), tuple(made.train[0].shape[1:])
    if path.suffix.lower() == TENSORS:
        return _from_tensors(path, made.train)
    if kind is None or path.suffix.lower() not in kind.suffixes:
        known = ", ".join((*(kind.suffixes if kind else ()), TENSORS))
        raise ValueError(
            f"a new sample of {made.name} must be in a file {known}, got {path.name!r}: convert it"
        )
    return kind.read(path, shape)


def label_of(text: str, made: Made) -> Tensor:
    """Return the label (1,) that is named, by its number or by its class.

    Raises:
        ValueError: if it is none of the setting's.
    """
    labels = made.train[1]
    if labels.ndim != 1:
        raise ValueError(
            f"--label must not be given for {made.name}, whose labels are the next tokens: drop it"
        )
    kind, count = kind_of(made.setting), int(labels.max()) + 1
    classes = kind.classes if kind else ()
    number = classes.index(text) if text in classes else int(text) if text.isdecimal() else -1
    if not 0 <= number < count:
        names = ", ".join(classes) or f"0 … {count - 1}"
        raise ValueError(f"--label must be one of {names}, got {text!r}: correct it")
    return torch.tensor([number])


def predicted(task: AttributionTask, inputs: Tensor, made: Made) -> Tensor:
    """Return the class (1,) with the lowest loss, the mean over the checkpoints of a task.

    Raises:
        ValueError: if labels are no classes.
    """
    if made.train[1].ndim != 1:
        raise ValueError(f"a new sample of {made.name} needs its labels, got none: pass both")
    classes = torch.arange(int(made.train[1].max()) + 1, device=task.device)
    batch = inputs.to(task.device).expand(len(classes), *inputs.shape[1:]), classes
    with torch.no_grad():
        losses = [
            task.bind(index).values(task.loss, batch) for index in range(len(task.checkpoints))
        ]
    return torch.stack(losses).mean(0).argmin()[None].cpu()


def name_of(made: Made, split: str, index: int) -> str:
    """Return what is shown of a training or test sample: its class, or how it begins."""
    inputs, labels = made.train if split == "train" else made.test
    return describe(made, inputs[index : index + 1], labels[index : index + 1])


def describe(made: Made, inputs: Tensor, labels: Tensor) -> str:
    """Return the same of a sample that comes as inputs (1, ...) and labels (1, ...)."""
    kind = kind_of(made.setting)
    if kind is not None:
        return kind.show(inputs[0], labels[0])
    return str(labels[0].item()) if labels.ndim == 1 else ""


def _from_tensors(path: Path, like: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    try:
        tensors = load_file(path)
        found = tensors["inputs"], tensors["labels"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{path} must be a safetensors file with inputs and labels, got {type(error).__name__}: "
            f"{error}; write both"
        ) from None
    for what, tensor, other in zip(("inputs", "labels"), found, like, strict=True):
        wanted = (1, *other.shape[1:])
        if tuple(tensor.shape) != wanted or tensor.dtype != other.dtype:
            raise ValueError(
                f"{what} of {path} must be {other.dtype} {wanted}, as one training sample, got "
                f"{tensor.dtype} {tuple(tensor.shape)}: change it"
            )
    return found
