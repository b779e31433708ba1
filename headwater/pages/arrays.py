"""The data of a page: a record, arrays and pictures, packed."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Files"]

TYPES = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"}


class Files:
    """Files inside a page: those that may shrink are deflated.

    What a record holds is a reference that the page's `files.js` follows: an array is
    {"array": name, "type", "shape"}, a picture its name.
    """

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def add_array(self, name: str, array: NDArray[Any]) -> dict[str, Any]:
        """Keep an array, little-endian; return the reference to it."""
        if array.dtype.name not in TYPES:
            raise ValueError(f"{name} must be one of {sorted(TYPES)}, got {array.dtype}: cast it")
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        self._add(name, zlib.compress(np.ascontiguousarray(little).tobytes(), 9))
        return {"array": name, "type": array.dtype.name, "shape": list(array.shape)}

    def add_picture(self, name: str, content: bytes) -> str:
        """Keep the bytes of a picture file; return its name."""
        self._add(name, content)
        return name

    def add_record(self, name: str, record: Any) -> str:
        """Keep what JSON can say; return its name."""
        text = json.dumps(record, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        # A lone surrogate is no UTF-8, and none of the project's business.
        self._add(name, zlib.compress(text.encode("utf-8", "replace"), 9))
        return name

    def _add(self, name: str, content: bytes) -> None:
        if name in self.content:
            raise ValueError(f"a page must have one file {name!r}, got two: rename one")
        self.content[name] = content
