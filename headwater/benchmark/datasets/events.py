"""Notes as a sequence of events: the vocabulary of the Music Transformer (Huang et al. 2019).

| token | event |
|---|---|
| 0 … 127 | the note of that pitch starts |
| 128 … 255 | the note of pitch token - 128 ends |
| 256 … 355 | time goes on by (token - 255) · 10 ms |
| 356 … 387 | notes that start from here on have a velocity in 4 v … 4 v + 3, v = token - 356 |
| 388 | the piece ends |
| 389 | no event, fills a batch |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import floor

from headwater.benchmark.datasets.midi import Note, in_order

__all__ = ["END", "PAD", "STEPS_PER_SECOND", "VOCABULARY_SIZE", "decode_events", "encode_notes"]

STEPS_PER_SECOND = 100
NOTE_OFF, TIME_SHIFT, VELOCITY, END, PAD = 128, 256, 356, 388, 389
VOCABULARY_SIZE = 390

_LONGEST_SHIFT = 100
_VELOCITIES_PER_EVENT = 4
_FIRST_VELOCITY = 64  # of notes before the first velocity event, in a window cut from a piece


def encode_notes(notes: Iterable[Note]) -> list[int]:
    """Return the events of notes, without END.

    Times are rounded to the nearest 10 ms since the start of the piece, so that errors do not add up
    (5 ms at most); at one time notes end before others start, and lower pitches come first. A
    velocity is written when it differs from the one before.

    Args:
        notes: in any order; those of one pitch must not overlap.

    Raises:
        ValueError: If a note ends before it starts, or notes of one pitch overlap.

    Example:
        >>> encode_notes([Note(start=0.0, end=1.25, pitch=60, velocity=64)])
        [372, 60, 355, 280, 188]
    """
    events: list[int] = []
    now, velocity = 0, None
    for time, pitch, struck in _changes(sorted(notes, key=lambda note: (note.start, note.end))):
        step = floor(time * STEPS_PER_SECOND + 0.5)
        while now < step:
            shift = min(step - now, _LONGEST_SHIFT)
            events.append(TIME_SHIFT + shift - 1)
            now += shift
        if struck is None:
            events.append(NOTE_OFF + pitch)
            continue
        if struck // _VELOCITIES_PER_EVENT != velocity:
            velocity = struck // _VELOCITIES_PER_EVENT
            events.append(VELOCITY + velocity)
        events.append(pitch)
    return events


def decode_events(events: Iterable[int]) -> list[Note]:
    """Return the notes of events, up to END: what `encode_notes` had, within 5 ms and its velocities.

    Any sequence has notes, that of a model too. A note that is struck while it sounds ends the one
    before; one that never ends does so with the sequence; an end without a start is nothing. Velocities
    are the middle of their four. Notes are in order of their starts, then pitches.

    Args:
        events: tokens 0 … 389.

    Raises:
        ValueError: If a token is not in the vocabulary.

    Example:
        >>> decode_events([372, 60, 355, 280, 188])
        [Note(start=0.0, end=1.25, pitch=60, velocity=66)]
    """
    notes: list[Note] = []
    struck: dict[int, tuple[float, int]] = {}
    step, velocity = 0, _FIRST_VELOCITY

    def end(pitch: int) -> None:
        if pitch in struck:
            start, loudness = struck.pop(pitch)
            notes.append(Note(start, step / STEPS_PER_SECOND, pitch, loudness))

    for event in events:
        if not 0 <= event < VOCABULARY_SIZE:
            raise ValueError(
                f"events must be 0 … {VOCABULARY_SIZE - 1}, got {event}: decode tokens of this vocabulary"
            )
        if event == END:
            break
        if event < NOTE_OFF:
            end(event)
            struck[event] = step / STEPS_PER_SECOND, velocity
        elif event < TIME_SHIFT:
            end(event - NOTE_OFF)
        elif event < VELOCITY:
            step += event - TIME_SHIFT + 1
        elif event < END:
            velocity = _VELOCITIES_PER_EVENT * (event - VELOCITY) + _VELOCITIES_PER_EVENT // 2
    for pitch in list(struck):
        end(pitch)
    return in_order(notes)


def _changes(notes: list[Note]) -> Iterator[tuple[float, int, int | None]]:
    """Yield time, pitch, and velocity of starts or None of ends, in the order of the events."""
    changes: list[tuple[float, int, int, int, int | None]] = []
    free = dict.fromkeys(range(NOTE_OFF), 0.0)
    for i, (start, end, pitch, velocity) in enumerate(notes):
        if not free[pitch] <= start <= end:
            raise ValueError(
                f"notes of one pitch must follow each other, got pitch {pitch} from {start} to {end} s "
                f"after one until {free[pitch]} s: cut the notes before the next"
            )
        free[pitch] = end
        changes.append((start, 1, pitch, 2 * i, velocity))
        # The end of a note without duration comes right after its start.
        changes.append((end, int(end == start), pitch, 2 * i + 1, None))
    changes.sort(key=lambda change: change[:4])
    for time, _, pitch, _, velocity_or_end in changes:
        yield time, pitch, velocity_or_end
