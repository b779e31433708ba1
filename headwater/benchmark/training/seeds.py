"""Independent seeds for every random choice, from one base seed."""

import hashlib

__all__ = ["derive_seed"]


def derive_seed(base: int, *path: int | str) -> int:
    """Return a seed in [0, 2^63) that depends on the base seed and the whole path.

    The first 63 bits of sha256 over the type and value of every part: the same on all platforms
    and Python versions, and different for `1` and `"1"`.

    Args:
        base: Seed that the user chose.
        path: What the seed is for, for example ("subset", 3, "repeat", 0).

    >>> derive_seed(0, "init") == derive_seed(0, "init")
    True
    >>> derive_seed(0, 1) == derive_seed(0, "1")
    False
    """
    digest = hashlib.sha256()
    for part in (base, *path):
        kind = "s" if isinstance(part, str) else "i"
        text = str(part if isinstance(part, str) else int(part)).encode()
        digest.update(f"{kind}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest()[:8], "little") >> 1
