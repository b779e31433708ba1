"""Metrics of attribution scores: pure functions on NumPy arrays or CPU tensors.

Every metric returns an `Estimate` with a bootstrap confidence interval. PyTorch is never imported.
"""

from headwater.metrics.estimate import Estimate
from headwater.metrics.leave_one_out import leave_one_out_correlation
from headwater.metrics.linear_datamodeling import linear_datamodeling_score
from headwater.metrics.noise_ceiling import noise_ceiling
from headwater.metrics.noisy_labels import noisy_label_auc
from headwater.metrics.removal import brittleness, query_loss_difference, removal_curve

__all__ = [
    "Estimate",
    "brittleness",
    "leave_one_out_correlation",
    "linear_datamodeling_score",
    "noise_ceiling",
    "noisy_label_auc",
    "query_loss_difference",
    "removal_curve",
]
