"""The gradient store: per-sample gradients on disk, written block by block and read without copies.

One Zarr v3 group holds one (checkpoint, split). Each tensor of a term is one array whose chunk is one
block of samples: one uncompressed file of at most 64 MB. A block counts as written only when its mark
exists, made after its bytes; it holds their CRC32C, which every reader checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import torch
import zarr
from torch import Tensor

from headwater.gradients.gradients import Gradients
from headwater.gradients.packing import from_json

FORMAT = 2


@dataclass(frozen=True)
class StoreDescription:
    """What a store holds; a reader that expects something else is refused.

    Args:
        setting: the setting (or any name of the problem).
        split: ``train`` or ``test``.
        function: the function differentiated, ``loss`` or a target's name.
        checkpoint: a hash of the checkpoint's bytes.
        representation: ``factored``, ``dense`` or ``projected``.
        dtype: ``float32``, ``float16`` or ``float64``, of the gradients (values keep float64).
        projection: kind, dimension and seed, empty if not projected.
    """

    setting: str
    split: str
    function: str
    checkpoint: str
    representation: str = "factored"
    dtype: str = "float32"
    projection: str = ""


class GradientStore:
    """Read a complete store, block by block, read-only.

    It must hold what is expected, by default anything. Gradients are put on the device, in the dtype, by
    default float32, or float64 if stored so. FileNotFoundError if there is no store; ValueError if it
    is incomplete, or holds something else.
    """

    def __init__(
        self,
        path: str | Path,
        expect: StoreDescription | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        self.path, self.device = Path(path), torch.device(device)
        if not (self.path / "zarr.json").exists():
            raise FileNotFoundError(f"{str(path)!r} must be a gradient store, found none there")
        group = zarr.open_group(self.path, mode="r")
        head: Any = group.attrs.get("headwater")
        if head is None or head["format"] != FORMAT:
            raise ValueError(f"{path} must be a gradient store of format {FORMAT}, got {head!r}")
        fields = StoreDescription.__dataclass_fields__
        self.description = StoreDescription(**{name: head[name] for name in fields})
        if expect is not None:
            check_same(head, asdict(expect), self.path)
        self.n, self.block = int(head["n"]), int(head["block"])
        self.n_blocks = -(-self.n // self.block)
        self._like = from_json(head["gradients"])
        self.dtype = dtype or (torch.float64 if head["dtype"] == "float64" else torch.float32)
        self._checked: set[tuple[str, int]] = set()
        marks = list((self.path / "blocks").glob("*.json"))
        if (done := len(marks)) != self.n_blocks:
            raise ValueError(
                f"{path} must be complete, got {done} of {self.n_blocks} blocks; "
                "run the command that writes it again, it goes on where it stopped"
            )
        # Looked up once: a look-up takes as long as a few MB of reading.
        names = json.loads(marks[0].read_text()) if marks else ()
        self._arrays: dict[str, Any] = {name: group[name] for name in names}

    def blocks(self) -> Iterator[Gradients]:
        """Yield the gradients of one block of samples after the other."""
        return map(self.read, range(self.n_blocks))

    def values(self) -> Tensor:
        """Return the values that the gradients were taken at, (n,); no gradient is read."""
        parts = [self._tensor("values", b, self._sums(b)["values"]) for b in range(self.n_blocks)]
        return torch.cat(parts)

    def read(self, b: int) -> Gradients:
        """Return the gradients of block b; ValueError if the bytes are not those that were written."""
        sums = self._sums(b).items()
        return self._like.with_tensors({name: self._tensor(name, b, crc) for name, crc in sums})

    def _sums(self, b: int) -> dict[str, int]:
        return json.loads((self.path / "blocks" / f"{b}.json").read_text())

    def _tensor(self, name: str, b: int, crc: int) -> Tensor:
        data = chunk(self.path, name, b, self._arrays[name])[: self.n - b * self.block]
        if (name, b) not in self._checked and checksum(data) != crc:
            raise ValueError(
                f"block {b} of {name} in {self.path} is damaged: its checksum is not the one "
                "it was written with; delete the store and make it again"
            )
        self._checked.add((name, b))
        # Copy-on-write pages: PyTorch wants writable memory, and the file is never changed.
        tensor = torch.from_numpy(np.asarray(data)).to(self.device)
        if not tensor.is_floating_point():
            return tensor.long()
        return tensor.to(torch.float64 if name == "values" else self.dtype)


def chunk(path: Path, name: str, b: int, array: Any) -> np.ndarray:
    """Map the file of one block: an uncompressed chunk is the raw little-endian block."""
    parts = "/".join(["c", str(b), *["0"] * (array.ndim - 1)])
    return np.memmap(path / name / parts, array.dtype, "c", shape=array.chunks)


def checksum(data: np.ndarray) -> int:
    """Return the CRC32C of an array's bytes."""
    # A read-only view is taken as it is; anything writable would have to be copied.
    view = np.ascontiguousarray(data).view()
    view.flags.writeable = False
    return int(google_crc32c.value(view))


def check_same(head: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    """Raise ValueError unless a store holds what is expected."""
    for field, wanted in expected.items():
        if head.get(field) != wanted:
            raise ValueError(
                f"{path} must hold {field} {wanted!r}, got {head.get(field)!r}; "
                "use another folder or delete this one"
            )
