import mido
import pytest

from headwater.benchmark.datasets.midi import Note, read_notes

# A file whose key signature has 99 sharps.
BAD_KEY = b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk\0\0\0\6\0\xff\x59\2\x63\0"


def write(path, *tracks, ticks_per_beat=100, kind=1):
    """A file of tracks, each a list of (tick, message)."""
    midi = mido.MidiFile(type=kind, ticks_per_beat=ticks_per_beat)
    for messages in tracks:
        track, before = mido.MidiTrack(), 0
        for tick, message in messages:
            track.append(message.copy(time=tick - before))
            before = tick
        midi.tracks.append(track)
    midi.save(path)
    return path


def on(pitch, velocity=80):
    return mido.Message("note_on", note=pitch, velocity=velocity)


def off(pitch):
    return mido.Message("note_off", note=pitch)


def pedal(value, control=64):
    return mido.Message("control_change", control=control, value=value)


@pytest.fixture
def notes(tmp_path):
    """The notes of one track whose ticks are hundredths of a second."""
    tempo = (0, mido.MetaMessage("set_tempo", tempo=1_000_000))

    def read(*messages):
        return read_notes(write(tmp_path / "a.midi", [tempo], list(messages)))

    return read


def test_starts_ends_and_both_kinds_of_off(notes):
    found = notes((0, on(60, 1)), (50, on(64, 127)), (100, off(60)), (150, on(64, 0)))
    assert found == [Note(0.0, 1.0, 60, 1), Note(0.5, 1.5, 64, 127)]


def test_the_pedal_prolongs_notes_until_it_goes_up(notes):
    found = notes(
        (0, on(60)), (10, pedal(64)), (20, off(60)), (30, on(62)), (40, off(62)), (90, pedal(63))
    )
    assert found == [Note(0.0, 0.9, 60, 80), Note(0.3, 0.9, 62, 80)]


def test_a_key_that_is_still_down_sounds_on_after_the_pedal(notes):
    found = notes((0, pedal(127)), (10, on(60)), (50, pedal(0)), (80, off(60)))
    assert found == [Note(0.1, 0.8, 60, 80)]


def test_a_pedal_after_the_key_is_up_is_too_late(notes):
    assert notes((0, on(60)), (20, off(60)), (21, pedal(127)), (90, pedal(0))) == [
        Note(0, 0.2, 60, 80)
    ]


def test_striking_a_key_again_ends_its_note(notes):
    found = notes((0, pedal(100)), (0, on(60)), (10, off(60)), (30, on(60, 90)), (50, pedal(0)))
    # The key is down when the pedal goes up, and never released: to the end of the file.
    assert found == [Note(0.0, 0.3, 60, 80), Note(0.3, 0.5, 60, 90)]
    assert notes((0, on(60)), (30, on(60)), (40, off(60)), (60, off(60))) == [
        Note(0.0, 0.3, 60, 80),
        Note(0.3, 0.4, 60, 80),
    ]


def test_other_pedals_do_nothing_and_no_sound_is_no_note(notes):
    found = notes(
        (0, pedal(127, control=66)), (0, pedal(127, control=67)), (5, on(60)), (5, off(60)),
        (10, on(61)), (20, off(61)),
    )  # fmt: skip
    assert found == [Note(0.1, 0.2, 61, 80)]


def test_what_sounds_at_the_end_ends_there(notes):
    end = mido.MetaMessage("end_of_track")
    assert notes((0, pedal(127)), (0, on(60)), (10, off(60)), (200, end)) == [Note(0, 2.0, 60, 80)]


def test_tempi_hold_for_all_tracks(tmp_path):
    tempi = [(50, mido.MetaMessage("set_tempo", tempo=1_000_000))]
    tracks = (
        [(0, on(60)), (50, off(60)), (50, on(62)), (150, off(62))],
        [(25, on(40)), (100, off(40))],
    )
    # Half a second per beat of 100 ticks before, one second after.
    assert read_notes(write(tmp_path / "a.midi", tempi, *tracks)) == [
        Note(0.0, 0.25, 60, 80),
        Note(0.125, 0.75, 40, 80),
        Note(0.25, 1.25, 62, 80),
    ]


def test_a_real_performance(mirror, tmp_path):
    path = min((mirror / "maestro/maestro-v2.0.0/2004").glob("*.midi"))
    notes, messages = read_notes(path), list(mido.MidiFile(path))
    struck = sum(m.type == "note_on" and m.velocity > 0 for m in messages)
    assert len(notes) == struck > 100
    places = [(note.start, note.pitch) for note in notes]
    assert places == sorted(places)
    last = {}
    for note in notes:
        assert last.get(note.pitch, 0.0) <= note.start < note.end
        last[note.pitch] = note.end
    # A sum of all deltas, by mido itself.
    assert max(last.values()) <= sum(m.time for m in messages) + 1e-6
    midi = mido.MidiFile(path)
    for message in (message for track in midi.tracks for message in track):
        if message.is_cc(64):
            message.value = 0
    midi.save(tmp_path / "keys.midi")
    keys = read_notes(tmp_path / "keys.midi")
    assert [(note.start, note.pitch) for note in keys] == places
    assert sum(n.end for n in keys) < sum(n.end for n in notes)


@pytest.mark.parametrize(
    "content", [b"", b"not a MIDI file, but a text", b"MThd\0\0\0\6\0\1\0\1", BAD_KEY]
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.midi").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.midi must be a MIDI file, got .*: fetch it again"):
        read_notes(tmp_path / "a.midi")


def test_a_truncated_performance_is_refused(tmp_path, mirror):
    path = min((mirror / "maestro/maestro-v2.0.0/2004").glob("*.midi"))
    (tmp_path / "a.midi").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a.midi must be a MIDI file"):
        read_notes(tmp_path / "a.midi")


def test_times_that_are_not_one_line_of_beats_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one time line in beats, got type 2"):
        read_notes(write(tmp_path / "a.midi", [(0, on(60))], kind=2))
    with pytest.raises(ValueError, match=r"got type 1 and -\d+ ticks"):
        read_notes(write(tmp_path / "a.midi", [(0, on(60))], ticks_per_beat=-6360))


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_notes(tmp_path / "a.midi")
