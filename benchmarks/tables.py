"""Markdown of the results: tables, and the machine they were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["describe_machine", "seconds", "table", "write_page"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its first column left, the others right.

    Raises:
        ValueError: if a row has another number of cells than the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row must have {len(header)} cells, got {len(row)}: {row}")
    rule = [":--"] + ["--:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def seconds(value: float) -> str:
    """Return a duration with three significant digits, in ms below one second."""
    return f"{_three(value)} s" if value >= 1 else f"{_three(value * 1000)} ms"


def _three(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def describe_machine(machine: Mapping[str, str | int]) -> str:
    """Return one line about the machine."""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads used, "
        f"{machine['memory_gb']} GB of memory, {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}."
    )


def write_page(path: Path, parts: Sequence[str]) -> None:
    """Write the parts of a page, a blank line between them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n")
