"""The gradient store: per-sample gradients on disk, written block by block and read without copies.

One Zarr v3 group holds one (checkpoint, split). Each factor is one array whose chunk is one block
of samples: one uncompressed file of at most 64 MB a block. A block counts as written only when its
mark exists, and the mark is made after its bytes; it holds their CRC32C, which every reader checks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import torch
import zarr
from torch import Tensor

from headwater.checks import check_finite
from headwater.gradients.dense import DenseGradients
from headwater.gradients.factored import FactoredGradients, GradientScheme, LinearLayer
from headwater.gradients.gradients import Gradients
from headwater.parameters import ParameterLayout

__all__ = ["GradientStore", "StoreDescription", "StoreWriter"]

FORMAT = 1
BLOCK_BYTES = 32 * 2**20
DTYPES = ("float32", "float16", "float64")


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


class StoreWriter:
    """Write gradients block by block; what a killed run has written is kept.

    Args:
        path: the folder of the store.
        description: what it holds.
        n: the number of samples.
        block: samples a block; default: as many as make the widest array's files 32 MB.

    Raises:
        ValueError: if the folder holds a store of something else, or of other samples.
    """

    def __init__(
        self, path: str | Path, description: StoreDescription, n: int, block: int | None = None
    ) -> None:
        if description.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {description.dtype!r}")
        self.path, self.description, self.n, self.block = Path(path), description, n, block
        self._marks = self.path / "blocks"
        self._marks.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.rglob("*.partial"):
            leftover.unlink()
        self._group: zarr.Group | None = None
        if (self.path / "zarr.json").exists():
            group = zarr.open_group(self.path, mode="r+")
            head: Any = group.attrs.get("headwater")
            if head is not None:  # without it, a run was killed before the layout was complete
                _check_same(head, {**asdict(description), "n": n}, self.path)
                self._group, self.block = group, int(head["block"])

    def start(self, first: Gradients) -> int:
        """Lay out the arrays after the first gradients are known; return the samples a block.

        Raises:
            ValueError: if the store was begun with gradients of other layers.
        """
        if self._group is None:
            self._group = self._create(first)
        head: Any = self._group.attrs["headwater"]
        if head["scheme"] != _scheme_to_json(first):
            raise ValueError(
                f"{self.path} must hold gradients of the layers that it was begun with, got "
                "others; use another folder or delete this one"
            )
        assert self.block is not None
        return self.block

    def missing(self) -> list[slice]:
        """Return the sample ranges of the blocks that are not yet complete."""
        assert self.block is not None
        starts = range(0, self.n, self.block)
        return [
            slice(i, min(self.n, i + self.block))
            for b, i in enumerate(starts)
            if not (self._marks / f"{b}.json").exists()
        ]

    def write(self, rows: slice, gradients: Gradients) -> None:
        """Write one block and mark it complete.

        Raises:
            ValueError: if the rows are no whole block, the shapes differ from the first block's, or
                a number does not fit the store's dtype.
        """
        block = self.start(gradients)
        if rows.start % block or rows.stop != min(self.n, rows.start + block):
            raise ValueError(
                f"a write must cover one whole block of {block} samples, got {rows.start}:{rows.stop}"
            )
        assert self._group is not None
        sums = {}
        for name, tensor in gradients.tensors().items():
            if tensor.numel() == 0:
                continue
            array: Any = self._group[name]
            if tuple(tensor.shape) != (rows.stop - rows.start, *array.shape[1:]):
                raise ValueError(
                    f"{name} must have shape {(rows.stop - rows.start, *array.shape[1:])}, got "
                    f"{tuple(tensor.shape)}; pad sequences to one length before they are stored"
                )
            data = tensor.detach().cpu().to(getattr(torch, str(array.dtype)))
            check_finite(f"{name} in {array.dtype}", data, rows.start)
            array[rows] = data.numpy()
            sums[name] = _crc(_chunk(self.path, name, rows.start // block, array)[: len(data)])
        mark = self._marks / f"{rows.start // block}.json"
        partial = mark.with_suffix(".partial")
        partial.write_text(json.dumps(sums, sort_keys=True))
        os.replace(partial, mark)

    def _create(self, first: Gradients) -> zarr.Group:
        tensors = {name: t for name, t in first.tensors().items() if t.numel()}
        if self.block is None:
            size = np.dtype(self.description.dtype).itemsize
            widest = max(int(t[0].numel()) for t in tensors.values()) * size
            self.block = max(1, min(self.n, BLOCK_BYTES // widest))
        head = {
            "format": FORMAT,
            "sign": "gradient of the function as it is; scores carry the minus",
            "n": self.n,
            "block": self.block,
            "scheme": _scheme_to_json(first),
            **asdict(self.description),
        }
        group = zarr.open_group(self.path, mode="w", zarr_format=3)
        self._marks.mkdir(exist_ok=True)
        for name, tensor in sorted(tensors.items()):
            shape = tuple(tensor.shape[1:])
            group.create_array(
                name,
                shape=(self.n, *shape),
                chunks=(self.block, *shape),
                dtype="float64" if name == "values" else self.description.dtype,
                compressors=None,
                fill_value=float("nan"),
                config={"write_empty_chunks": True},
            )
        group.attrs["headwater"] = head  # last: a group without it is not a store
        return group


class GradientStore:
    """Read a complete store, block by block, read-only.

    Args:
        path: the folder of the store.
        expect: what it must hold; default: anything.
        device: where the gradients are put.
        dtype: what they are converted to; default: float32, or float64 if stored so.

    Raises:
        FileNotFoundError: if there is no store.
        ValueError: if it is incomplete, or holds something else than expected.
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
            _check_same(head, asdict(expect), self.path)
        self.n, self.block = int(head["n"]), int(head["block"])
        self._like = _like_from_json(head["scheme"])
        self.dtype = dtype or (torch.float64 if head["dtype"] == "float64" else torch.float32)
        self._checked: set[int] = set()
        marks = list((self.path / "blocks").glob("*.json"))
        if (done := len(marks)) != self.n_blocks:
            raise ValueError(
                f"{path} must be complete, got {done} of {self.n_blocks} blocks; "
                "run the command that writes it again, it goes on where it stopped"
            )
        # Looked up once: a look-up takes as long as a few MB of reading.
        names = json.loads(marks[0].read_text()) if marks else ()
        self._arrays: dict[str, Any] = {name: group[name] for name in names}

    @property
    def n_blocks(self) -> int:
        """The number of blocks."""
        return -(-self.n // self.block)

    def blocks(self) -> Iterator[Gradients]:
        """Yield the gradients of one block of samples after the other."""
        for b in range(self.n_blocks):
            yield self.read(b)

    def read(self, b: int) -> Gradients:
        """Return the gradients of block b.

        Raises:
            ValueError: if the bytes on disk are not those that were written.
        """
        rows = min(self.block, self.n - b * self.block)
        sums = json.loads((self.path / "blocks" / f"{b}.json").read_text())
        tensors: dict[str, Tensor] = {}
        for name, crc in sums.items():
            data = _chunk(self.path, name, b, self._arrays[name])[:rows]
            if b not in self._checked and _crc(data) != crc:
                raise ValueError(
                    f"block {b} of {name} in {self.path} is damaged: its checksum is not the one "
                    "it was written with; delete the store and make it again"
                )
            wanted = torch.float64 if name == "values" else self.dtype
            # Copy-on-write pages: PyTorch wants writable memory, and the file is never changed.
            tensors[name] = torch.from_numpy(np.asarray(data)).to(self.device, wanted)
        self._checked.add(b)
        if isinstance(self._like, FactoredGradients) and "rest" not in tensors:
            tensors["rest"] = torch.zeros(rows, 0, dtype=self.dtype, device=self.device)
        return self._like.with_tensors(tensors)


def _chunk(path: Path, name: str, b: int, array: Any) -> np.ndarray:
    """Map the file of one block: an uncompressed chunk is the raw little-endian block."""
    parts = "/".join(["c", str(b), *["0"] * (array.ndim - 1)])
    return np.memmap(path / name / parts, array.dtype, "c", shape=array.chunks)


def _crc(data: np.ndarray) -> int:
    # A read-only view is taken as it is; anything writable would have to be copied.
    view = np.ascontiguousarray(data).view()
    view.flags.writeable = False
    return int(google_crc32c.value(view))


def _check_same(head: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    for field, wanted in expected.items():
        if head.get(field) != wanted:
            raise ValueError(
                f"{path} must hold {field} {wanted!r}, got {head.get(field)!r}; "
                "use another folder or delete this one"
            )


def _scheme_to_json(gradients: Gradients) -> dict[str, Any] | None:
    if not isinstance(gradients, FactoredGradients):
        blocks = gradients.blocks if isinstance(gradients, DenseGradients) else ()
        return {"blocks": list(blocks)} if blocks else None
    scheme = gradients.scheme
    return {
        "layout": [[name, list(shape)] for name, shape in scheme.layout.shapes],
        "layers": [[layer.name, layer.weight, layer.bias] for layer in scheme.layers],
    }


def _like_from_json(scheme: dict[str, Any] | None) -> Gradients:
    if scheme is None or "blocks" in scheme:
        return DenseGradients(torch.zeros(0, 1), None, tuple(scheme["blocks"] if scheme else ()))
    layout = ParameterLayout(tuple((name, tuple(shape)) for name, shape in scheme["layout"]))
    layers = tuple(LinearLayer(*layer) for layer in scheme["layers"])
    empty = torch.zeros(0)
    return FactoredGradients(GradientScheme(layout, layers), (), empty, empty)
