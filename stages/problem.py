"""The samples and trained models of a problem, as stages load and save them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.files import atomic, load_json

__all__ = [
    "batches", "checkpoint_files", "file_hash", "load_split", "load_state", "save_state",
    "training_record",
]  # fmt: skip

BATCH = 1000


def load_split(path: Path, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of one split."""
    tensors = load_file(path)
    return tensors["inputs"].to(device), tensors["labels"].to(device)


def batches(inputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the samples as a list of batches in order."""
    return list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))


def training_record(models: Path) -> dict[str, Any]:
    """Return what stage train wrote of its models: setting, counts, seeds, learning rates."""
    return dict(load_json(models / "record.json"))


def checkpoint_files(models: Path, family: str, count: int) -> list[Path]:
    """Return the files of the first `count` checkpoints of a family.

    Raises:
        FileNotFoundError: if fewer were trained.
    """
    found = [models / c["file"] for c in training_record(models)["families"].get(family, [])]
    if len(found) < count:
        raise FileNotFoundError(
            f"{models} must hold {count} checkpoints of {family}, got {len(found)}; train more models"
        )
    return found[:count]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_state(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write named tensors, such as what was computed for one checkpoint."""
    whole, storages = {}, set[int]()
    for name, tensor in state.items():
        kept = tensor.contiguous()
        storage = kept.untyped_storage().data_ptr()
        whole[name] = kept.clone() if storage in storages else kept  # no two may share memory
        storages.add(storage)
    with atomic(path) as partial:
        save_file(whole, partial)


def load_state(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Read named tensors."""
    return load_file(path, str(device))
