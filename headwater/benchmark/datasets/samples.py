"""The samples of a data set, as all settings have them."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["Samples"]


class Samples(NamedTuple):
    """Tensors of one data set: inputs (n, ...) and int64 labels (n,) of both splits."""

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
