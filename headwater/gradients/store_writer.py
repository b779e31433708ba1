"""Gradients on their way to disk, block by block: what a killed run has written is kept."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from headwater.checks import check_finite
from headwater.gradients.gradients import Gradients
from headwater.gradients.store_format import (
    BLOCK_BYTES,
    DTYPES,
    FORMAT,
    StoreDescription,
    check_same,
    checksum,
    chunk,
    dtype_on_disk,
    to_json,
)

__all__ = ["StoreWriter"]


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
                check_same(head, {**asdict(description), "n": n}, self.path)
                self._group, self.block = group, int(head["block"])

    def start(self, first: Gradients) -> int:
        """Lay out the arrays after the first gradients are known; return the samples a block.

        Raises:
            ValueError: if the store was begun with gradients of other layers.
        """
        if self._group is None:
            self._group = self._create(first)
        head: Any = self._group.attrs["headwater"]
        if head["gradients"] != to_json(first):
            raise ValueError(
                f"{self.path} must hold gradients of the layers that it was begun with, got "
                "others, or of other lengths; use another folder, or pad sequences to one length"
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
            if data.is_floating_point():
                check_finite(f"{name} in {array.dtype}", data, rows.start)
            array[rows] = data.numpy()
            sums[name] = checksum(chunk(self.path, name, rows.start // block, array)[: len(data)])
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
            "gradients": to_json(first),
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
                dtype=dtype_on_disk(name, tensor, self.description.dtype),
                compressors=None,
                fill_value=float("nan") if tensor.is_floating_point() else -1,
                config={"write_empty_chunks": True},
            )
        group.attrs["headwater"] = head  # last: a group without it is not a store
        return group
