"""Gradients on their way to disk, block by block: what a killed run has written is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor

from headwater.batches import Batch
from headwater.checks import check_finite
from headwater.gradients.capture import GradientCapture
from headwater.gradients.gradients import Gradients, concatenate
from headwater.gradients.packing import to_json
from headwater.gradients.store import FORMAT, StoreDescription, check_same, checksum, chunk
from headwater.progress import track

BLOCK_BYTES, CAPTURED_BYTES = 2**25, 2**30  # of a file; of gradients before they are represented
DTYPES = ("float32", "float16", "float64")


def write_gradients(
    path: Path,
    description: StoreDescription,
    capture: GradientCapture,
    samples: Callable[[slice], Batch],
    n: int,
    represent: Callable[[Gradients], Gradients],
    block: int | None = None,
) -> None:
    """Write the gradients of n samples as `represent` makes them, but complete blocks."""
    writer = StoreWriter(path, description, n, block)
    first = capture(samples(slice(0, 2)))
    writer.start(represent(first))
    step, missing = max(2, CAPTURED_BYTES * len(first) // first.nbytes), writer.missing()
    for rows in track(missing, f"gradients of {description.function} ({description.split})"):
        starts = range(rows.start, rows.stop, step)
        parts = (samples(slice(i, min(i + step, rows.stop))) for i in starts)
        writer.write(rows, concatenate([represent(capture(part)) for part in parts]))


class StoreWriter:
    """Write gradients block by block; what a killed run has written is kept.

    A block has by default as many of the n samples as make the widest array's files 32 MB. ValueError if
    the folder holds a store of something else, or of other samples.
    """

    def __init__(
        self, path: str | Path, description: StoreDescription, n: int, block: int | None = None
    ) -> None:
        if description.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {description.dtype!r}")
        self.path, self.description, self.n, self.block = Path(path), description, n, block or 0
        self._marks = self.path / "blocks"
        self._marks.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.rglob("*.partial"):
            leftover.unlink()
        self._group: Any = None
        if (self.path / "zarr.json").exists():
            group = zarr.open_group(self.path, mode="r+")
            head: Any = group.attrs.get("headwater")
            if head is not None:  # without it, a run was killed before the layout was complete
                check_same(head, {**asdict(description), "n": n}, self.path)
                self._group, self.block = group, int(head["block"])

    def start(self, first: Gradients) -> int:
        """Lay out the arrays, return samples per block; ValueError if begun with other layers."""
        if self._group is None:
            self._group = self._create(first)
        if self._group.attrs["headwater"]["gradients"] != to_json(first):
            raise ValueError(
                f"{self.path} must hold gradients of the layers that it was begun with, got "
                "others, or of other lengths; use another folder, or pad sequences to one length"
            )
        return self.block

    def missing(self) -> list[slice]:
        """Return the sample ranges of the blocks that are not yet complete."""
        starts = [i for i in range(0, self.n, self.block) if not self._mark(i).exists()]
        return [slice(i, min(self.n, i + self.block)) for i in starts]

    def write(self, rows: slice, gradients: Gradients) -> None:
        """Write one block and mark it complete.

        ValueError if the rows are no whole block, the shapes differ from the first block's, or a number
        does not fit the store's dtype.
        """
        block = self.start(gradients)
        if rows.start % block or rows.stop != min(self.n, rows.start + block):
            raise ValueError(
                f"a write must cover one whole block of {block} samples, got {rows.start}:{rows.stop}"
            )
        tensors = {name: t for name, t in gradients.tensors().items() if t.numel()}
        sums = {name: self._write(name, tensor, rows) for name, tensor in tensors.items()}
        mark = self._mark(rows.start)
        partial = mark.with_suffix(".partial")
        partial.write_text(json.dumps(sums, sort_keys=True))
        partial.replace(mark)

    def _write(self, name: str, tensor: Tensor, rows: slice) -> int:
        array = self._group[name]
        wanted = (rows.stop - rows.start, *array.shape[1:])
        if tuple(tensor.shape) != wanted:
            raise ValueError(
                f"{name} must have shape {wanted}, got {tuple(tensor.shape)}; "
                "pad sequences to one length before they are stored"
            )
        data = tensor.detach().cpu().to(getattr(torch, str(array.dtype)))
        if data.is_floating_point():
            check_finite(f"{name} in {array.dtype}", data, rows.start)
        array[rows] = data.numpy()
        return checksum(chunk(self.path, name, rows.start // self.block, array)[: len(data)])

    def _mark(self, start: int) -> Path:
        return self._marks / f"{start // self.block}.json"

    def _create(self, first: Gradients) -> zarr.Group:
        tensors = {name: t for name, t in first.tensors().items() if t.numel()}
        if not self.block:
            widest = max(int(t[0].numel()) for t in tensors.values())
            size = widest * np.dtype(self.description.dtype).itemsize
            self.block = max(1, min(self.n, BLOCK_BYTES // size))
        head = {
            "format": FORMAT,
            "sign": "gradient of the function as it is; scores carry the minus",
            "n": self.n,
            "block": self.block,
            "gradients": to_json(first),
            **asdict(self.description),
        }
        group = zarr.open_group(self.path, mode="w", zarr_format=3)
        self._marks.mkdir(exist_ok=True)
        for name, tensor in sorted(tensors.items()):
            shape, real = tuple(tensor.shape[1:]), tensor.is_floating_point()
            wanted = "float64" if name == "values" else self.description.dtype
            group.create_array(
                name,
                shape=(self.n, *shape),
                chunks=(self.block, *shape),
                dtype=wanted if real else "int32",
                compressors=None,
                fill_value=float("nan") if real else -1,
                config={"write_empty_chunks": True},
            )
        group.attrs["headwater"] = head  # last: a group without it is not a store
        return group
