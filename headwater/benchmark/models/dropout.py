"""Dropout whose mask is a function of a key, not of a global random state."""

import torch
from torch import Tensor, nn

from headwater.hashing import hash32

__all__ = ["StatelessDropout"]


class StatelessDropout(nn.Dropout):
    """Drop elements with probability p by a mask that depends on `key` and position alone.

    Element i of the input is kept when hash(key, i) ≥ p · 2^32, and divided by 1 - p. The trainer
    writes a new `key` at every step; with the same key the mask is the same, on every device and
    whatever else runs beside. The key starts at 0, so a model used without a trainer works and
    repeats one mask. In eval mode the layer is the identity.

    Args:
        p: Probability that an element is dropped, 0 <= p < 1.

    Raises:
        ValueError: If p lies outside [0, 1).
    """

    key: Tensor

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout needs 0 <= p < 1, got p={p}: choose a smaller probability")
        super().__init__(p)
        self.register_buffer("key", torch.zeros((), dtype=torch.int32), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs of any shape with elements dropped (train) or unchanged (eval)."""
        if not self.training or self.p == 0.0:
            return inputs
        # Words are uniform on [-2^31, 2^31).
        threshold = round(self.p * (1 << 32)) - (1 << 31)
        keep = hash32(self.key, inputs.numel()).view(inputs.shape) >= threshold
        return inputs * keep.to(inputs.dtype).mul_(1.0 / (1.0 - self.p))
