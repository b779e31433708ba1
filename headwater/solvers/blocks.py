"""Blocks of rows, so that what is computed between two products stays in fast memory."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["ROWS", "row_blocks"]

NUMBERS = 2**22
"""What a block holds by default, 16 MiB in float32: malloc keeps that much for the next block, while
larger ones come from the system page by page, at the cost of a product."""
ROWS = 16
"""Right-hand sides that are worth a product of their own: fewer share too little of it."""


def row_blocks(
    count: int, width: int, numbers: int | None = None, least: int = 1
) -> Iterator[slice]:
    """Yield slices that cover `count` rows, each of at most `numbers` / `width` rows or `least`.

    Args:
        count: of all rows.
        width: numbers in a row.
        numbers: in a block; None: what malloc keeps.
        least: rows a block, however wide they are.

    Example:
        >>> list(row_blocks(5, width=10, numbers=20))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(least, (numbers or NUMBERS) // max(1, width))
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))
