"""Dropout whose mask is a function of a key, not of a global random state."""

import torch
from torch import Tensor, nn

__all__ = ["StatelessDropout", "hash32"]

# lowbias32 multipliers (Wellons) and 2^32 divided by the golden ratio, as signed 32-bit numbers.
_FIRST = 0x7FEB352D
_SECOND = 0x846CA68B - (1 << 32)
_GOLDEN = 0x9E3779B9 - (1 << 32)


def hash32(key: Tensor, count: int) -> Tensor:
    """Return `count` pseudo-random 32-bit words h(key + index · 2^32/φ).

    Integer arithmetic modulo 2^32, so CPU and GPU agree bit for bit; works under vmap with a
    batched key.

    Args:
        key: int32 scalar tensor.
        count: Number of words.

    Returns:
        Uniform int32 words, shape (count,), on the device of the key.
    """
    index = torch.arange(count, dtype=torch.int32, device=key.device)
    word = key + index.mul_(_GOLDEN)
    # `>>` keeps the sign: the mask turns it into a logical shift.
    word ^= (word >> 16).bitwise_and_(0xFFFF)
    word *= _FIRST
    word ^= (word >> 15).bitwise_and_(0x1FFFF)
    word *= _SECOND
    word ^= (word >> 16).bitwise_and_(0xFFFF)
    return word


class StatelessDropout(nn.Module):
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
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout needs 0 <= p < 1, got p={p}: choose a smaller probability")
        self.p = p
        self.register_buffer("key", torch.zeros((), dtype=torch.int32), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs of any shape with elements dropped (train) or unchanged (eval)."""
        if not self.training or self.p == 0.0:
            return inputs
        # Words are uniform on [-2^31, 2^31).
        threshold = round(self.p * (1 << 32)) - (1 << 31)
        keep = hash32(self.key, inputs.numel()).view(inputs.shape) >= threshold
        return inputs * keep.to(inputs.dtype).mul_(1.0 / (1.0 - self.p))

    def extra_repr(self) -> str:
        """Return the drop probability for printing."""
        return f"p={self.p}"
