import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.benchmark.datasets.events import (
    END,
    PAD,
    VOCABULARY_SIZE,
    decode_events,
    encode_notes,
)
from headwater.benchmark.datasets.midi import Note, read_notes


def assert_same(notes, decoded, seconds):
    """Key by key the same notes; those that are too short for the grid stay in their order."""
    assert len(notes) == len(decoded)
    notes = sorted(notes, key=lambda note: (note.pitch, note.start, note.end))
    decoded = sorted(decoded, key=lambda note: (note.pitch, note.start))
    for note, other in zip(notes, decoded, strict=True):
        assert note.pitch == other.pitch
        assert note.velocity // 4 == other.velocity // 4
        assert abs(note.start - other.start) <= seconds
        assert abs(note.end - other.end) <= seconds


@st.composite
def performances(draw):
    """Notes that follow each other on a few keys, some of them without duration."""
    notes, times = [], st.floats(0, 3, allow_subnormal=False)
    for pitch in draw(st.lists(st.integers(0, 127), max_size=4, unique=True)):
        time = 0.0
        for _ in range(draw(st.integers(0, 4))):
            start = time + draw(times)
            time = start + draw(times)
            notes.append(Note(start, time, pitch, draw(st.integers(1, 127))))
    return draw(st.permutations(notes))


def test_events_of_a_chord():
    notes = [Note(0.5, 2.754, 64, 100), Note(0.5, 0.9, 60, 103), Note(2.754, 2.80, 60, 20)]
    events = encode_notes(notes)
    assert events == [
        256 + 49,  # 0.5 s
        356 + 25, 60, 64,  # velocities 100 … 103, lower pitch first
        256 + 39, 128 + 60,
        256 + 99, 256 + 84, 128 + 64,  # 1.85 s: ends come before starts
        356 + 5, 60,
        256 + 4, 128 + 60,
    ]  # fmt: skip
    assert encode_notes(reversed(notes)) == events


@given(performances())
def test_round_trip(notes):
    events = encode_notes(notes)
    assert all(0 <= event < END for event in events)
    decoded = decode_events(events)
    assert_same(notes, decoded, 0.005 + 1e-9)
    assert_same(decoded, decode_events(encode_notes(decoded)), 1e-9)  # on the grid nothing is lost


def test_round_trip_of_real_performances(mirror):
    for path in sorted((mirror / "maestro/maestro-v2.0.0").glob("20*/*.midi"))[::150]:
        notes = read_notes(path)
        assert len(notes) > 100
        assert_same(notes, decode_events([*encode_notes(notes), END]), 0.005 + 1e-9)


def test_errors_of_rounding_do_not_add_up():
    notes = [Note(0.0149 * i, 0.0149 * (i + 1), 60, 80) for i in range(1000)]
    assert abs(decode_events(encode_notes(notes))[-1].end - 14.9) <= 0.005 + 1e-9


def test_any_sequence_has_notes():
    # A window from the middle of a piece: an end without a start, no velocity yet, nothing closed.
    assert decode_events([128 + 50, 60, 265, 60, 62, PAD, 256, END, 61]) == [
        Note(0.0, 0.1, 60, 64),
        Note(0.1, 0.11, 60, 64),
        Note(0.1, 0.11, 62, 64),
    ]
    assert decode_events([]) == encode_notes([]) == []


@pytest.mark.parametrize("token", [-1, VOCABULARY_SIZE])
def test_other_tokens_are_refused(token):
    with pytest.raises(ValueError, match=f"events must be 0 … 389, got {token}"):
        decode_events([60, token])


def test_notes_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="got pitch 60 from 1 to 3 s after one until 2 s"):
        encode_notes([Note(1, 3, 60, 80), Note(0, 2, 60, 80)])
    with pytest.raises(ValueError, match="must follow each other, got pitch 60 from 2 to 1 s"):
        encode_notes([Note(2, 1, 60, 80)])
