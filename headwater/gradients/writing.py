"""Capture the gradients of a whole data set into a store, going on where a killed run stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headwater.batches import Batch
from headwater.gradients.capture import GradientCapture
from headwater.gradients.gradients import Gradients
from headwater.gradients.store_format import StoreDescription
from headwater.gradients.store_writer import StoreWriter
from headwater.progress import track

__all__ = ["write_gradients"]


def write_gradients(
    path: Path,
    description: StoreDescription,
    capture: GradientCapture,
    samples: Callable[[slice], Batch],
    n: int,
    represent: Callable[[Gradients], Gradients],
    block: int | None = None,
) -> None:
    """Write the gradients of n samples; blocks that are already complete are not computed again.

    Args:
        path: the folder of the store.
        description: what it will hold.
        capture: captures the gradients of a batch.
        samples: returns the samples of a range as one batch.
        n: the number of samples.
        represent: turns captured gradients into what is stored (the identity, or a projection).
        block: samples a block; default: chosen by size.
    """
    writer = StoreWriter(path, description, n, block)
    writer.start(represent(capture(samples(slice(0, 2)))))
    missing = writer.missing()
    for rows in track(missing, f"gradients of {description.function} ({description.split})"):
        writer.write(rows, represent(capture(samples(rows))))
