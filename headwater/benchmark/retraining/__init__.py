"""Retraining: on subsets, without single samples, one model or many at a time."""

from headwater.benchmark.retraining.evaluation import evaluate_many, evaluate_targets
from headwater.benchmark.retraining.leave_one_out import leave_one_out
from headwater.benchmark.retraining.many import (
    Job,
    Outputs,
    final_parameters,
    run_parameters,
    train_many,
)
from headwater.benchmark.retraining.seeds import derive_seed
from headwater.benchmark.retraining.stacked import train_stacked
from headwater.benchmark.retraining.subsets import draw_subsets, flip_labels
from headwater.benchmark.retraining.training import Checkpoint, Trained, train_model

__all__ = [
    "Checkpoint",
    "Job",
    "Outputs",
    "Trained",
    "derive_seed",
    "draw_subsets",
    "evaluate_many",
    "evaluate_targets",
    "final_parameters",
    "flip_labels",
    "leave_one_out",
    "run_parameters",
    "train_many",
    "train_model",
    "train_stacked",
]
