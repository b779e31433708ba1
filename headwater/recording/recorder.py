"""Writing checkpoints of a training run, and finding them again."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_model
from torch import nn
from torch.optim import Optimizer

log = logging.getLogger(__name__)
STEP, LEARNING_RATE = "headwater.step", "headwater.learning_rate"
"""Keys of a file's metadata."""


@dataclass(frozen=True)
class RecordedCheckpoint:
    """One recorded state: its file, how many steps led to it, and the learning rate of the last one."""

    path: Path
    step: int
    learning_rate: float


def recorded(folder: str | Path) -> list[RecordedCheckpoint]:
    """Return the checkpoints that were recorded in a folder, in the order of their steps.

    Raises:
        FileNotFoundError: if there is none.
    """
    found = [_read_record(path) for path in Path(folder).glob("*.safetensors")]
    if not found:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold recorded checkpoints, found none; name the recorder's folder"
        )
    return sorted(found, key=lambda record: record.step)


class CheckpointRecorder:
    """Record a checkpoint every so many steps of a training loop.

    A file is a model in safetensors, with step and learning rate in its metadata; it appears under
    its name when all of it is written. Its path is a checkpoint for ``AttributionTask``.

    Args:
        folder: of one training run; it is made where it is missing.
        every: steps of the optimizer between two checkpoints.
        done: steps done before, when an interrupted run goes on. Files of its later steps are replaced.

    Raises:
        ValueError: if `every` is not positive or `done` is negative.
        FileExistsError: if a new run finds checkpoints in the folder.

    Example:
        >>> import tempfile, torch
        >>> model = torch.nn.Linear(3, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recorder = CheckpointRecorder(folder, every=2)
        ...     for _ in range(5):
        ...         optimizer.step()
        ...         recorder.after_step(model, optimizer)
        ...     [(record.step, record.learning_rate) for record in recorded(folder)]
        [(2, 0.1), (4, 0.1)]
    """

    def __init__(self, folder: str | Path, every: int, done: int = 0) -> None:
        if every < 1 or done < 0:
            raise ValueError(
                f"a recorder needs every >= 1 and done >= 0 steps, got {every} and {done}"
            )
        self.folder, self.every, self.steps = Path(folder), every, done
        self.folder.mkdir(parents=True, exist_ok=True)
        if done == 0 and any(self.folder.glob("*.safetensors")):
            raise FileExistsError(
                f"the folder of a new run must hold no checkpoints, found some in {str(folder)!r}; "
                "choose another folder, or say how many steps are done"
            )

    def after_step(self, model: nn.Module, optimizer: Optimizer | float) -> None:
        """Count a step, and record the model if it is its turn.

        Call it after ``optimizer.step()`` and before the scheduler's, so that the learning rate is
        the one of this step.

        Args:
            model: as it is after the step.
            optimizer: with one learning rate for all parameters, or that rate.

        Raises:
            ValueError: if the optimizer has several learning rates.
        """
        self.steps += 1
        if self.steps % self.every == 0:
            if isinstance(optimizer, Optimizer):
                optimizer = learning_rate_of(optimizer)
            self.record(model, self.steps, optimizer)

    def record(self, model: nn.Module, step: int, learning_rate: float) -> Path:
        """Write the model as it is now, and return the file."""
        path = self.folder / f"step-{step:09d}.safetensors"
        partial = path.with_suffix(".partial")
        # "format" is what Transformers asks of a file.
        metadata = {"format": "pt", STEP: str(step), LEARNING_RATE: repr(float(learning_rate))}
        save_model(model, str(partial), metadata)
        os.replace(partial, path)
        log.info("checkpoint after step %d, learning rate %g: %s", step, learning_rate, path)
        return path


def learning_rate_of(optimizer: Optimizer) -> float:
    """Return the learning rate that all groups of an optimizer share.

    Raises:
        ValueError: if they have several.
    """
    rates = {float(group["lr"]) for group in optimizer.param_groups}
    if len(rates) != 1:
        raise ValueError(
            "an optimizer must have one learning rate for a checkpoint to be weighted with, "
            f"got {sorted(rates)}; pass the one that counts"
        )
    return rates.pop()


def _read_record(path: Path) -> RecordedCheckpoint:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if STEP not in metadata or LEARNING_RATE not in metadata:
        raise ValueError(
            f"{str(path)!r} must have been written by a CheckpointRecorder, got a file without "
            f"{STEP} and {LEARNING_RATE} in its metadata; keep it in another folder"
        )
    return RecordedCheckpoint(path, int(metadata[STEP]), float(metadata[LEARNING_RATE]))
