import shutil
from dataclasses import replace

import pytest
import torch

from headwater.benchmark.datasets import maestro
from headwater.benchmark.datasets.download import file_checksum
from headwater.benchmark.datasets.events import END, PAD
from tests.benchmark.datasets.servers import pack, served

TABLE = "maestro-v2.0.0/maestro-v2.0.0.csv"


@pytest.fixture
def reads(monkeypatch):
    """The names of the performances that are read from here on."""
    read, names = maestro.read_events, []

    def counted(path):
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(maestro, "read_events", counted)
    return names


@pytest.fixture
def small(tmp_path, mirror):
    """The shortest performances of the mirror, two of train and one of test, laid out as it is."""
    source, target = mirror / "maestro/maestro-v2.0.0", tmp_path / "small/maestro/maestro-v2.0.0"
    rows = (source / "maestro-v2.0.0.csv").read_text(encoding="utf-8").splitlines()
    kept = rows[:1]
    for split, n in (("train", 2), ("test", 1)):
        names = maestro.read_splits(source / "maestro-v2.0.0.csv")[split]
        for name in sorted(names, key=lambda name: (source / name).stat().st_size)[:n]:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
            kept += [row for row in rows if name in row]
    (target / "maestro-v2.0.0.csv").write_text("\n".join(kept), encoding="utf-8")
    return tmp_path / "small"


def test_official_splits(mirror):
    files = maestro.read_splits(mirror / "maestro" / TABLE)
    assert {split: len(names) for split, names in files.items()} == {
        "train": 399, "validation": 46, "test": 74,
    }  # fmt: skip
    for names in files.values():
        assert names == sorted(names)
        assert all((mirror / "maestro/maestro-v2.0.0" / name).is_file() for name in names)
    assert len(set().union(*files.values())) == 519


@pytest.mark.parametrize("table", ["split,midi_filename\nold,a.midi\n", "split\ntrain\n"])
def test_other_tables_are_refused(tmp_path, table):
    (tmp_path / "a.csv").write_text(table)
    with pytest.raises(ValueError, match=r"a.csv must give each performance"):
        maestro.read_splits(tmp_path / "a.csv")


def test_windows_of_the_mirror(mirror, monkeypatch, tmp_path, reads):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    samples = maestro.load_samples(tmp_path, n_train=100, n_test=20)
    assert [tuple(x.shape) for x in samples] == [(100, 256)] * 2 + [(20, 256)] * 2
    assert all(x.dtype == torch.int64 for x in samples)
    assert len(reads) < 15
    # The first performance by name, cut where a window is full.
    files = maestro.read_splits(mirror / "maestro" / TABLE)
    events = maestro.read_events(mirror / "maestro/maestro-v2.0.0" / files["train"][0])
    assert events[-1] == END
    n = min((len(events) - 1) // 256, 100)
    assert torch.equal(samples.train_inputs[:n].flatten(), events[: 256 * n])
    assert torch.equal(samples.train_labels[:n].flatten(), events[1 : 256 * n + 1])
    assert int(samples.train_labels.max()) < PAD
    # Again: the same; less: the first of them.
    again = maestro.load_samples(tmp_path, n_train=30, n_test=20)
    assert torch.equal(again.train_inputs, samples.train_inputs[:30])
    assert torch.equal(again.test_labels, samples.test_labels)


@pytest.mark.slow
def test_the_mirror_has_the_windows_of_the_benchmark(mirror, monkeypatch, tmp_path, reads):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    samples = maestro.load_samples(tmp_path, n_train=5000, n_test=178)
    assert [len(x) for x in samples] == [5000, 5000, 178, 178]
    assert len(reads) < 150
    # All kinds of events are there.
    kinds = torch.bucketize(
        samples.train_inputs.unique(), torch.tensor([128, 256, 356]), right=True
    )
    assert kinds.bincount().tolist()[2:] == [100, 32]


def test_downloads_and_a_mirror_give_the_same_samples(small, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(small))
    mirrored = maestro.load_samples(tmp_path, length=64)
    monkeypatch.delenv("HEADWATER_DATA_MIRROR")
    (tmp_path / "served").mkdir()
    archive = pack(small / "maestro", tmp_path / "served/maestro-v2.0.0-midi.zip")
    with served(archive.parent) as address:
        source = replace(maestro.ARCHIVE, url=address + archive.name, sha256=file_checksum(archive))
        monkeypatch.setattr(maestro, "ARCHIVE", source)
        downloaded = maestro.load_samples(tmp_path, length=64)
    assert all(torch.equal(a, b) for a, b in zip(mirrored, downloaded, strict=True))
    assert (tmp_path / "downloads/maestro" / TABLE).is_file()


def test_another_archive_is_refused(small, monkeypatch, tmp_path):
    monkeypatch.delenv("HEADWATER_DATA_MIRROR", raising=False)
    (tmp_path / "served").mkdir()
    archive = pack(small / "maestro", tmp_path / "served/maestro-v2.0.0-midi.zip")
    with served(archive.parent) as address:
        source = replace(maestro.ARCHIVE, url=address + archive.name)
        monkeypatch.setattr(maestro, "ARCHIVE", source)
        with pytest.raises(ValueError, match=r"midi.zip must have sha256 ec2cc9d9"):
            maestro.load_samples(tmp_path)
    assert not (tmp_path / "downloads/maestro").exists()


def test_a_mirror_must_be_complete(small, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(small))
    for path in small.rglob("*.midi"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold maestro/maestro-v2.0.0/20.*midi"):
        maestro.load_windows(tmp_path, "test")


def test_what_is_not_there_is_refused(small, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(small))
    with pytest.raises(ValueError, match="n of split test must be at most"):
        maestro.load_windows(tmp_path, "test", n=100_000)
    with pytest.raises(ValueError, match="split must be one of train, validation, test, got 'val'"):
        maestro.load_windows(tmp_path, "val")
