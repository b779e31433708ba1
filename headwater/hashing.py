"""Counter-based random numbers: word i is a hash of (key, i), the same bits on every device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hash32"]

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
