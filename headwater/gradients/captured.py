"""Gradients captured from a loader: at several checkpoints in one pass, a few samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from headwater.batches import Batch, batch_size, select, tensors_of
from headwater.gradients.capture import GradientCapture
from headwater.gradients.gradients import Gradients
from headwater.gradients.spill import Allowance, GradientBlocks
from headwater.gradients.term import Dense
from headwater.loader import LoadedData
from headwater.progress import track


class CapturedGradients:
    """The gradients of one function at one checkpoint, at all samples of a loader.

    What `represent` makes of captured gradients is kept, in the memory that is allowed and in files
    beyond it; or, if all are asked for `once`, nothing of what memory does not take is kept.
    """

    def __init__(
        self,
        capture: GradientCapture,
        represent: Callable[[Gradients], Gradients],
        data: LoadedData,
        allowance: Allowance,
        once: bool = False,
        joined: bool = False,
    ) -> None:
        self.capture, self.data, self._once, self._joined = capture, data, once, joined
        self.keeps_factors = True
        """Whether all that is kept are gradients as captured, none formed from factors."""
        self._represent, self._allowance = represent, allowance
        self._complete = False
        self.start()

    @property
    def size(self) -> int:
        """Bytes that they take, wherever they are; 0 before they are captured."""
        return self._blocks.nbytes if self._complete else 0

    @property
    def in_files(self) -> int:
        """Bytes of them that are not in memory."""
        return self._blocks.nbytes - self._blocks.held

    @cached_property
    def streams(self) -> bool:
        """Whether they are captured anew each time: they exceed what is allowed, the data do not."""
        if not self._once or self.data.batches is None:
            return False
        first, count = self.data.first, self.data.batches
        one = self._represent(self.capture(select(first, slice(0, 1)))).nbytes
        data = count * sum(tensor.nbytes for tensor in tensors_of(first))
        size = count * batch_size(first) * one
        return data <= self.data.budget and not self._allowance.fits(size)

    def __iter__(self) -> Iterator[Gradients]:
        """Yield all of them, block by block."""
        if self.streams:
            pieces = Pieces(self.capture, self._allowance)
            for batch in track(self.data, "gradients", self.data.batches):
                yield from map(self._represent, pieces(batch))
        else:
            yield from self.blocks

    @property
    def blocks(self) -> GradientBlocks:
        """All of them; captured now, if they are not yet."""
        if not self._complete:
            capture_together([self], "gradients")
        return self._blocks

    def start(self) -> None:
        """Forget what was captured of a pass that did not come to its end."""
        self._pieces = Pieces(self.capture, self._allowance)
        self._blocks = GradientBlocks(self._allowance, self._joined)

    def add(self, batch: Batch) -> None:
        """Capture the gradients of the next batch."""
        for gradients in self._pieces(batch):
            kept = self._represent(gradients)
            formed = any(isinstance(t, Dense) and t.matrix is not None for t in kept.terms)
            self.keeps_factors &= kept is gradients and not formed
            self._blocks.add(kept)

    def end(self) -> None:
        """Take what was added for all there is."""
        self._blocks.close()
        self._complete = True


def capture_together(parts: Sequence[CapturedGradients], what: str) -> None:
    """Capture the gradients at several checkpoints in one pass over the data they share."""
    if not parts:
        return
    data = parts[0].data
    for part in parts:
        part.start()
    for batch in track(data, what, data.batches):
        for part in parts:
            part.add(batch)
    for part in parts:
        part.end()


class Pieces:
    """Capture one batch after the other, as many samples at a time as a block may have."""

    def __init__(self, capture: GradientCapture, allowance: Allowance) -> None:
        self._capture, self._allowance = capture, allowance
        self._width = capture.model.layout.size  # formed, at first: no form is larger
        self._done = 0

    def __call__(self, batch: Batch) -> Iterator[Gradients]:
        """Yield the gradients of the next batch."""
        n, start, model = batch_size(batch), 0, self._capture.model
        while start < n:
            step = self._allowance.rows(self._width, model.device, model.dtype.itemsize)
            stop = start + -(-(n - start) // -(-(n - start) // step))  # equal parts
            part = batch if stop - start == n else select(batch, slice(start, stop))
            found = self._capture(part, self._done)
            self._width = max(1, found.nbytes // (len(found) * model.dtype.itemsize))
            self._done += len(found)
            yield found
            start = stop
