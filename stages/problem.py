"""What stages load of a problem: its samples and its trained models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

__all__ = [
    "batches",
    "checkpoint_files",
    "file_hash",
    "learning_rates",
    "load_split",
]

BATCH = 1000


def load_split(path: Path) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of one prepared split."""
    tensors = load_file(path)
    return tensors["inputs"], tensors["labels"]


def batches(inputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the samples as a list of batches in order."""
    return list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))


def checkpoint_files(models: Path, kind: str, count: int) -> list[Path]:
    """Return the files of the first `count` checkpoints, ``ensemble``, ``early`` or ``trajectory``.

    Raises:
        FileNotFoundError: if fewer were trained.
    """
    found = [models / f"{kind}-{i:02d}.safetensors" for i in range(count)]
    for path in found:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} must be a trained model, found none; train more models"
            )
    return found


def learning_rates(models: Path, count: int) -> list[float]:
    """Return the learning rate in force at each checkpoint of the trajectory."""
    record = json.loads((models / "record.json").read_text())
    return [float(c["learning_rate"]) for c in record["trajectory"]][:count]


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
