"""Retraining: on subsets, without single samples, one model or many at a time."""

from headwater.benchmark.retraining.evaluation import evaluate_targets
from headwater.benchmark.retraining.leave_one_out import leave_one_out
from headwater.benchmark.retraining.many import Job, train_many
from headwater.benchmark.retraining.stacked import train_stacked
from headwater.benchmark.retraining.subsets import draw_subsets, flip_labels

__all__ = [
    "Job",
    "draw_subsets",
    "evaluate_targets",
    "flip_labels",
    "leave_one_out",
    "train_many",
    "train_stacked",
]
