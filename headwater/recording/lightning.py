"""Recording checkpoints while Lightning's ``Trainer`` trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from headwater.recording.recorder import CheckpointRecorder, learning_rate_of

__all__ = ["LightningRecorder"]


class LightningRecorder(Callback):
    """``Trainer(..., callbacks=[LightningRecorder(folder, every=100)])`` records every 100 steps.

    A run that is resumed goes on in its folder. Of several processes the first one writes; the model
    must be whole there (data parallel), and there must be one optimizer.

    Args:
        folder: of one training run.
        every: steps of the optimizer between two checkpoints.
    """

    def __init__(self, folder: str | Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the folder; FileExistsError if a new run finds checkpoints there."""
        if len(trainer.optimizers) != 1:
            raise ValueError(
                f"LightningRecorder needs one optimizer, got {len(trainer.optimizers)}; "
                "call CheckpointRecorder.record in training_step"
            )
        if trainer.is_global_zero:
            self._recorder = CheckpointRecorder(self.folder, self.every, done=trainer.global_step)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Note the learning rate: when the batch ends, the scheduler has gone on."""
        self._learning_rate = learning_rate_of(optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *outputs_batch_index: Any
    ) -> None:
        """Record if this batch ended with a step of the optimizer, and it is its turn."""
        if trainer.is_global_zero and trainer.global_step > self._recorder.steps:
            self._recorder.after_step(pl_module, self._learning_rate)
