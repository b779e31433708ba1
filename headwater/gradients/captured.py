"""Gradients captured from a loader: at several checkpoints in one pass, a few samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from headwater.batches import Batch, batch_size, select
from headwater.gradients.capture import GradientCapture
from headwater.gradients.gradients import Gradients
from headwater.gradients.spill import Allowance, GradientBlocks
from headwater.gradients.term import Dense
from headwater.loader import LoadedData
from headwater.progress import track

__all__ = ["CapturedGradients", "Pieces", "capture_together"]


class CapturedGradients:
    """The gradients of one function at one checkpoint, at all samples of a loader.

    Args:
        capture: captures the gradients of a batch.
        represent: turns them into what is kept.
        data: the samples.
        allowance: the memory that what is kept may take.
    """

    def __init__(
        self,
        capture: GradientCapture,
        represent: Callable[[Gradients], Gradients],
        data: LoadedData,
        allowance: Allowance,
    ) -> None:
        self.capture, self.data = capture, data
        self.keeps_factors = True
        """Whether all that is kept are gradients as captured, none formed from factors."""
        self._represent, self._allowance = represent, allowance
        self._pieces = Pieces(capture, allowance)
        self._blocks = GradientBlocks(allowance)
        self._complete = False

    @property
    def size(self) -> int:
        """Bytes that they take, wherever they are; 0 before they are captured."""
        return self._blocks.nbytes if self._complete else 0

    @property
    def blocks(self) -> GradientBlocks:
        """All of them; captured now, if they are not yet."""
        if not self._complete:
            capture_together([self], "gradients")
        return self._blocks

    def add(self, batch: Batch) -> None:
        """Capture the gradients of the next batch."""
        for gradients in self._pieces(batch, len(self._blocks)):
            kept = self._represent(gradients)
            formed = any(isinstance(t, Dense) and t.matrix is not None for t in kept.terms)
            self.keeps_factors &= kept is gradients and not formed
            self._blocks.add(kept)

    def start(self) -> None:
        """Forget what was captured of a pass that did not come to its end."""
        self._blocks = GradientBlocks(self._allowance)

    def end(self) -> None:
        """Take what was added for all there is."""
        self._blocks.close()
        self._complete = True


def capture_together(parts: Sequence[CapturedGradients], what: str) -> None:
    """Capture the gradients at several checkpoints in one pass over the data they share.

    Args:
        parts: at least one.
        what: is captured, for messages.
    """
    data = parts[0].data
    for part in parts:
        part.start()
    for batch in track(data, what, data.batches):
        for part in parts:
            part.add(batch)
    for part in parts:
        part.end()


class Pieces:
    """Capture batches of any size, as many samples at a time as a block may have.

    Args:
        capture: captures the gradients of a batch.
        allowance: says how large a block may be.
    """

    def __init__(self, capture: GradientCapture, allowance: Allowance) -> None:
        self._capture, self._allowance = capture, allowance
        self._width = capture.model.layout.size  # formed, at first: no form is larger

    def __call__(self, batch: Batch, first_row: int) -> Iterator[Gradients]:
        """Yield the gradients of a batch.

        Args:
            batch: the samples.
            first_row: the number of samples before this batch.
        """
        n, start, model = batch_size(batch), 0, self._capture.model
        while start < n:
            step = self._allowance.rows(self._width, model.device, model.dtype.itemsize)
            rows = slice(start, min(n, start + step))
            part = batch if rows == slice(0, n) else select(batch, rows)
            found = self._capture(part, first_row + start)
            self._width = max(1, found.nbytes // (len(found) * model.dtype.itemsize))
            yield found
            start = rows.stop
