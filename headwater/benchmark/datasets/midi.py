"""The notes of a piano performance in a MIDI file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

try:
    import mido
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "reading MIDI files needs mido, got no such package: pip install 'headwater[music]'",
        name=error.name,
    ) from error

__all__ = ["Note", "in_order", "read_notes"]

_PEDAL = 64  # the controller of the sustain pedal, and the value from which it is down
_USED = {"note_on", "note_off", "control_change", "set_tempo", "end_of_track"}


class Note(NamedTuple):
    """A note that sounds from `start` to `end` seconds; pitch and velocity are 0 … 127."""

    start: float
    end: float
    pitch: int
    velocity: int


def read_notes(path: Path) -> list[Note]:
    """Return the notes of a performance as they sound, in order of their starts, then pitches.

    The sustain pedal (controller 64, down from 64 on) is part of the notes: one whose key goes up
    while the pedal is down sounds until the pedal goes up, or the same key is struck again. A key that
    is struck while it sounds ends the note before; what sounds at the end of the file ends
    there. Notes of no duration are left out. All channels are one piano.

    Raises:
        ValueError: If the file is not a MIDI file with one time line in beats.
        FileNotFoundError: If there is no such file.
    """
    try:
        midi = mido.MidiFile(path)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, LookupError, mido.KeySignatureError) as error:
        raise ValueError(
            f"{path.name} must be a MIDI file, got {error or type(error).__name__}: fetch it again"
        ) from error
    if midi.type == 2 or midi.ticks_per_beat <= 0:
        raise ValueError(
            f"{path.name} must have one time line in beats, got type {midi.type} and "
            f"{midi.ticks_per_beat} ticks per beat: convert it to type 1"
        )
    return in_order(note for note in _sounding(midi) if note.end > note.start)


def in_order(notes: Iterable[Note]) -> list[Note]:
    """Return notes by their starts, then pitches; those of one pitch that start together stay."""
    return sorted(notes, key=lambda note: (note.start, note.pitch))


def _sounding(midi: mido.MidiFile) -> Iterator[Note]:
    """Yield each note when it ends."""
    struck: dict[int, tuple[float, int]] = {}
    released: set[int] = set()  # keys that are up, whose notes the pedal holds
    pedal, time = False, 0.0

    def ended(pitch: int) -> Note:
        start, velocity = struck.pop(pitch)
        released.discard(pitch)
        return Note(start, time, pitch, velocity)

    for time, message in _timed(midi):
        if message.type == "control_change":
            pedal = message.value >= _PEDAL
            if not pedal:
                yield from [ended(pitch) for pitch in sorted(released)]
        elif message.type == "note_on" and message.velocity:
            if message.note in struck:
                yield ended(message.note)
            struck[message.note] = time, message.velocity
        elif message.type != "end_of_track" and message.note in struck:
            if pedal:
                released.add(message.note)
            else:
                yield ended(message.note)
    yield from [ended(pitch) for pitch in sorted(struck)]


def _timed(midi: mido.MidiFile) -> Iterator[tuple[float, mido.Message]]:
    """Yield the notes and pedals of all tracks together, with their times in seconds."""
    messages = []
    for track in midi.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type in _USED:
                messages.append((tick, message))
    # Stable: within a tick the order of the tracks, of which the first has the tempi.
    messages.sort(key=lambda item: item[0])
    # Seconds since the last tempo came, so that errors of rounding do not add up.
    since, at, tempo = 0.0, 0, 500_000  # microseconds per beat, until the file says another
    for tick, message in messages:
        time = since + (tick - at) * tempo / (midi.ticks_per_beat * 1_000_000)
        if message.type == "set_tempo":
            since, at, tempo = time, tick, message.tempo
        elif message.type != "control_change" or message.control == _PEDAL:
            yield time, message
