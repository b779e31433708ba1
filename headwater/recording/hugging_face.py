"""Recording checkpoints while Hugging Face's ``Trainer`` trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from headwater.recording.recorder import CheckpointRecorder

__all__ = ["TrainerRecorder"]


class TrainerRecorder(TrainerCallback):
    """``Trainer(..., callbacks=[TrainerRecorder(folder, every=100)])`` records every 100 steps.

    A run that is resumed goes on in its folder. Of several processes the first one writes; the model
    must be whole there (data parallel).

    Args:
        folder: of one training run.
        every: steps of the optimizer between two checkpoints.
    """

    def __init__(self, folder: str | Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **parts: Any,
    ) -> None:
        """Open the folder; FileExistsError if a new run finds checkpoints there."""
        if state.is_world_process_zero:
            self._recorder = CheckpointRecorder(self.folder, self.every, done=state.global_step)

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: nn.Module,
        optimizer: Optimizer,
        **parts: Any,
    ) -> None:
        """Record if it is this step's turn; here the scheduler has not gone on yet."""
        if state.is_world_process_zero:
            self._recorder.after_step(model, optimizer)
