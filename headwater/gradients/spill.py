"""Gradients of many samples, block by block: in memory up to an allowance, in files beyond it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from headwater.gradients.gradients import Gradients, concatenate
from headwater.gradients.packing import from_json, to_json
from headwater.memory import LARGE, rows_per_block


class Allowance:
    """Bytes of memory that several collections of gradients share, as long as they live."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.users: weakref.WeakSet[GradientBlocks] = weakref.WeakSet()

    def fits(self, size: int) -> bool:
        """Return whether as many more bytes may be held."""
        return sum(user.held for user in self.users) + size <= self.limit

    def rows(self, width: int, device: torch.device, itemsize: int) -> int:
        """Return how many samples of a width a block may have: it stays small beside the limit."""
        most = self.limit // (4 * width * itemsize)
        return max(1, min(most, rows_per_block(width, device, numbers=LARGE)))


class GradientBlocks:
    """Gradients in the order in which they are added, in blocks of a size that suits products.

    Small batches are joined, large ones are cut; `joined`, there are as few as the allowance takes. What
    exceeds it is written to a temporary folder, which goes when this object does.
    """

    def __init__(self, allowance: Allowance, joined: bool = False) -> None:
        self.held = self.nbytes = 0  # bytes of gradients: in memory, and wherever they are
        self._allowance, self._joined = allowance, joined
        self._folder: Path | None = None
        self._pending = _Pending()
        self._values: list[Tensor] = []
        self._blocks: list[Callable[[], Gradients]] = []
        allowance.users.add(self)

    def __len__(self) -> int:
        return sum(map(len, self._values)) + self._pending.count

    def add(self, gradients: Gradients) -> None:
        """Append the gradients of some samples."""
        if not self._pending.takes(gradients):
            self.close()
        self._pending.add(gradients)
        width, device = _width(gradients), gradients.device
        most = self._allowance.rows(width, device, gradients.dtype.itemsize)  # joining takes a copy
        if self._pending.count >= min(rows_per_block(width, device, least=64), most):
            self.close()

    def values(self) -> Tensor:
        """Return the values f_i of all samples, (n,); no gradient is read."""
        self.close()
        return torch.cat(self._values)

    def __iter__(self) -> Iterator[Gradients]:
        return self.between(slice(None))

    def between(self, samples: slice) -> Iterator[Gradients]:
        """Yield the gradients of some samples; no other block is read."""
        self.close()
        start, stop, _ = samples.indices(len(self))
        first = 0
        for values, block in zip(self._values, self._blocks, strict=True):
            low, high = max(start - first, 0), min(stop - first, len(values))
            if low < high:
                found = block()
                yield found if high - low == len(values) else found[low:high]
            first += len(values)

    def close(self) -> None:
        """Make blocks of what is pending."""
        if not self._pending.blocks:
            return
        several = len(self._pending.blocks) > 1
        joined, self._pending = concatenate(self._pending.blocks), _Pending()
        width, size = _width(joined), joined.dtype.itemsize
        rows = self._allowance.rows(width, joined.device, size)
        if self._joined:
            rows = max(1, self._allowance.limit // (width * size))
        count = -(-len(joined) // rows)
        step = -(-len(joined) // count)  # equal parts: no small block is left over
        for start in range(0, len(joined), step):
            self._keep(joined[start : start + step], own=several and count == 1)

    def _keep(self, block: Gradients, own: bool) -> None:
        # Copies: no memory of the loader's, and for every tensor memory of its own as it has when it
        # is read back. Products of tensors that are aligned otherwise may have other last bits.
        tensors = {name: t if own else _copy(t) for name, t in block.tensors().items()}
        size = sum(tensor.nbytes for tensor in tensors.values())
        like = from_json(to_json(block))  # which holds no memory of the block's
        self._values.append(tensors["values"])
        self.nbytes += size
        if self._allowance.fits(size):
            self.held += size
            self._blocks.append(partial(like.with_tensors, tensors))
            return
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="headwater-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / f"{len(self._blocks)}.safetensors"
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, path)
        self._blocks.append(partial(_loaded, path, like, block.device))


def _loaded(path: Path, like: Gradients, device: torch.device) -> Gradients:
    tensors = load_file(path, device=str(device))
    return like.with_tensors({name: _copy(tensor) for name, tensor in tensors.items()})


def _copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


class _Pending:
    """Gradients that are to become one block."""

    def __init__(self) -> None:
        self.blocks: list[Gradients] = []
        self.count = self._used = self._widest = 0

    def takes(self, gradients: Gradients) -> bool:
        # Else different forms would be formed, and short sequences take the length of long ones.
        width, count = _width(gradients), len(gradients)
        padded = (self.count + count) * max(self._widest, width)
        if not self.blocks or padded > 2 * (self._used + count * width):
            return not self.blocks
        pairs = zip(gradients.terms, self.blocks[0].terms, strict=True)
        return all(mine.form() == theirs.form() for mine, theirs in pairs)

    def add(self, gradients: Gradients) -> None:
        width, count = _width(gradients), len(gradients)
        self.blocks.append(gradients)
        self.count += count
        self._used += count * width
        self._widest = max(self._widest, width)


def _width(gradients: Gradients) -> int:
    return max(1, gradients.nbytes // max(1, len(gradients) * gradients.dtype.itemsize))
