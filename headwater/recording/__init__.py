"""Checkpoints that are recorded while a model is trained, to attribute along the run afterwards.

A plain loop calls :class:`CheckpointRecorder`; ``headwater.recording.hugging_face`` and
``headwater.recording.lightning`` hold the callbacks for these trainers, and need their packages.
"""

from headwater.recording.recorder import CheckpointRecorder, RecordedCheckpoint, recorded

__all__ = ["CheckpointRecorder", "RecordedCheckpoint", "recorded"]
