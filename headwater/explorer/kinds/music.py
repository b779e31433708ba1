"""Music, as notes on a piano roll that plays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.pages import Files

__all__ = ["Music"]

Notes = Iterable[tuple[float, float, int, int]]


class Music:
    """Pieces, each a sequence of notes (start, end, pitch, velocity).

    Args:
        pieces: times in seconds, pitches and velocities as in MIDI, 0 … 127.
    """

    name = "music"

    def __init__(self, pieces: Sequence[Notes]) -> None:
        self._pieces = [[tuple(note) for note in piece] for piece in pieces]

    def __len__(self) -> int:
        return len(self._pieces)

    def pack(self, rows: NDArray[np.int64], files: Files, prefix: str) -> dict[str, Any]:
        """Return of each piece its notes, in hundredths of a second from its first one."""
        record = [self._hundredths(int(row)) for row in rows]
        return {"file": files.add_record(f"{prefix}.music", record)}

    def describe(self, row: int) -> str:
        """Return how many notes there are, and how long they take."""
        notes = self._hundredths(row)
        seconds = max((start + length for start, length, _, _ in notes), default=0) / 100
        return f"{len(notes)} notes in {seconds:.1f} s"

    def _hundredths(self, row: int) -> list[list[int]]:
        notes = self._pieces[row]
        first = min((start for start, *_ in notes), default=0.0)
        return [
            [
                round(100 * (start - first)),
                max(1, round(100 * (end - start))),
                int(pitch),
                int(velocity),
            ]
            for start, end, pitch, velocity in notes
        ]
