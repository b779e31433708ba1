"""Counter-based random numbers: word i is a hash of (key, i), the same bits on every device."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from struct import unpack

import torch
from torch import Tensor

# lowbias32 multipliers (Wellons) and 2^32 divided by the golden ratio, as signed 32-bit numbers.
_FIRST, _SECOND, _GOLDEN = 0x7FEB352D, 0x846CA68B - (1 << 32), 0x9E3779B9 - (1 << 32)


def hash32(key: Tensor, count: int) -> Tensor:
    """Return int32 words mix(key + c · 2^32/φ), c < count, for an int32 key (), also under vmap."""
    index = torch.arange(count, dtype=torch.int32, device=key.device)
    return _mixed(key + index.mul_(_GOLDEN))


def uniform(seeds: Sequence[int], *counters: Tensor) -> Tensor:
    """Return u = (h + 1/2) / 2^32 in (0, 1), h a 32-bit hash of the seeds and the counters.

    Each number k joins the hash as h ← mix(h ⊕ mix(k · 2^32/φ)), so u at one place depends on the
    numbers there alone: not on how many places are asked for together, nor on the device.

    Seeds are integers >= 0 of any size, shared by all places; counters are integer tensors below 2^32 on
    one device; u (float64) has the shape they broadcast to.
    """
    word = torch.tensor(_FIRST, dtype=torch.int32, device=counters[0].device)
    for seed in seeds:
        for shift in range(0, max(32, seed.bit_length()), 32):
            word = _joined(word, torch.tensor(seed >> shift & 0xFFFFFFFF, device=word.device))
    for counter in counters:
        word = _joined(word, counter)
    return (word.to(torch.float64) + (2.0**31 + 0.5)) * 2.0**-32


def stream_key(*parts: int | str) -> int:
    """Return a 64-bit key for `random_words`, another one for every list of parts.

    The parts say what the stream is for: names, seeds. None holds a zero character.
    """
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def random_words(key: int, index: Tensor, count: int) -> Tensor:
    """Return words w_jc = mix(r_j + c · 2^32/φ), r_j = mix(k_1 + j_1 · 2^32/φ + mix(k_0 ⊕ mix(j_0))).

    The key is k_0 + 2^32 k_1, from `stream_key`. Each place j = j_0 + 2^32 j_1 ≥ 0 of index, integers of
    any shape, has words c < count: int32 (*index.shape, count). Any can be drawn without the others.
    mix is a bijection, so that no two places below 2^32 have the same r_j, and their order is not one
    that steps of 2^32/φ could follow.
    """
    low, high = unpack("<2i", key.to_bytes(8, "little"))
    index = index.to(torch.int64)
    row = _mixed(_mixed(index.to(torch.int32)) ^ low)
    row += (index >> 32).to(torch.int32).mul_(_GOLDEN).add_(high)
    columns = torch.arange(count, dtype=torch.int32, device=index.device).mul_(_GOLDEN)
    return _mixed(_mixed(row)[..., None] + columns)


def random_below(words: Tensor, bound: Tensor) -> Tensor:
    """Return ⌊h · bound / 2^31⌋ with h the upper 31 bits of words: int64 in 0 … bound - 1."""
    return ((words.to(torch.int64) >> 1 & 0x7FFFFFFF) * bound) >> 31


def _joined(word: Tensor, number: Tensor) -> Tensor:
    """Return the hash of a hash and one more number, int32 words."""
    return _mixed(word ^ _mixed(number.to(torch.int64).mul(_GOLDEN).to(torch.int32)))


def _mixed(word: Tensor) -> Tensor:
    """Mix int32 words in place: a bijection of 2^32 numbers."""
    # `>>` keeps the sign: the mask turns it into a logical shift.
    word ^= (word >> 16).bitwise_and_(0xFFFF)
    word *= _FIRST
    word ^= (word >> 15).bitwise_and_(0x1FFFF)
    word *= _SECOND
    word ^= (word >> 16).bitwise_and_(0xFFFF)
    return word
