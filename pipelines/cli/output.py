"""What commands print: JSON on stdout alone, or tables and lines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "estimate", "print_json", "table"]

WIDTH = 100
"""Columns of a table that goes to a file, which has no width of its own."""


def print_json(record: Any) -> None:
    """Print a record as JSON; numbers that are not finite are null."""
    sys.stdout.write(json.dumps(_plain(record), indent=1, ensure_ascii=False) + "\n")


def console(*, stderr: bool = False) -> Console:
    """Return what prints lines as they are: no markup, no colour of its own, no breaks."""
    from rich.console import Console

    found = Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False)
    if not found.is_terminal:
        found.width = max(found.width, WIDTH)
    return found


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table whose first `left` columns are words and the others numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(columns):
        found.add_column(Text(name), justify="left" if index < left else "right")
    for row in rows:
        found.add_row(*map(Text, row))
    out = console()
    out.print(title)  # that of a Table is broken to the table's width
    out.print(found, soft_wrap=False)


def estimate(found: dict[str, float] | None, digits: int = 3) -> str:
    """Return ``0.612 [0.598, 0.626]``, or a dash where there is none."""
    if not found:
        return "-"
    value, low, high = (f"{found[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
