from dataclasses import replace

import numpy as np
import pytest
import torch

from headwater.benchmark.datasets import cifar
from headwater.benchmark.datasets.download import file_checksum
from tests.benchmark.datasets.servers import pack, served

FILES = cifar.TRAIN_FILES + cifar.TEST_FILES


def write_files(folder, n=30):
    """Six small files in the official layout; returns the labels of each."""
    rng, labels = np.random.default_rng(0), []
    for file in FILES:
        records = rng.integers(0, 256, (n, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(records.tobytes())
        labels.append(records[:, 0].astype(np.int64))
    return labels


@pytest.fixture
def official(tmp_path, monkeypatch):
    """The official archive, small, from a server on this machine."""
    monkeypatch.delenv("HEADWATER_DATA_MIRROR", raising=False)
    write_files(tmp_path / "official")
    (tmp_path / "served").mkdir()
    archive = pack(tmp_path / "official", tmp_path / "served/cifar-10-binary.tar.gz")
    with served(archive.parent) as address:
        source = replace(cifar.ARCHIVE, url=address + archive.name, sha256=file_checksum(archive))
        monkeypatch.setattr(cifar, "ARCHIVE", source)
        yield tmp_path


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_records(tmp_path):
    record = np.zeros(3073, dtype=np.uint8)
    record[[0, 1, 1 + 1024 + 32, 1 + 2048 + 1]] = 7, 10, 20, 30
    (tmp_path / "a.bin").write_bytes(record.tobytes() + bytes(3073))
    images, labels = cifar.read_records(tmp_path / "a.bin")
    assert images.shape == (2, 3, 32, 32)
    assert labels.tolist() == [7, 0]
    # Red, green and blue planes, each row by row.
    assert images[0][[0, 1, 2], [0, 1, 0], [0, 0, 1]].tolist() == [10, 20, 30]
    assert images.sum() == 60


@pytest.mark.parametrize("size", [0, 1, 3072, 2 * 3073 - 1])
def test_truncated_files_are_refused(tmp_path, size):
    (tmp_path / "a.bin").write_bytes(bytes(size))
    with pytest.raises(ValueError, match=f"whole records of 3073 bytes, got {size} bytes"):
        cifar.read_records(tmp_path / "a.bin")


def test_other_labels_are_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(3073) + b"\x0a" + bytes(3072))
    with pytest.raises(ValueError, match="labels 0 … 9, got 10"):
        cifar.read_records(tmp_path / "a.bin")


def test_normalise():
    pixels = cifar.normalise(np.array([0, 51, 255], dtype=np.uint8))
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, torch.tensor([-1.0, -0.6, 1.0]))


def test_real_cifar10(mirror, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    samples = cifar.load_cifar10(tmp_path, n_train=5000, n_test=500)
    assert [tuple(x.shape) for x in samples] == [
        (5000, 3, 32, 32),
        (5000,),
        (500, 3, 32, 32),
        (500,),
    ]
    assert samples.train_inputs.dtype == torch.float32
    assert samples.train_labels.dtype == torch.int64
    # The first images of the official files: frog, truck, truck, deer; cat, ship, ship, airplane.
    assert samples.train_labels[:4].tolist() == [6, 9, 9, 4]
    assert samples.test_labels[:4].tolist() == [3, 8, 8, 0]
    # Its first pixel is (59, 62, 63).
    pixel = torch.tensor([59.0, 62.0, 63.0]) / 127.5 - 1
    torch.testing.assert_close(samples.train_inputs[0, :, 0, 0], pixel)
    assert set(samples.train_labels.tolist()) == set(range(10))
    assert list(tmp_path.iterdir()) == []


def test_real_cifar2(mirror, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    samples = cifar.load_cifar2(tmp_path)
    assert [len(x) for x in samples] == [10_000, 10_000, 2000, 2000]
    assert samples.train_labels.bincount().tolist() == [5000, 5000]
    assert samples.test_labels.bincount().tolist() == [1000, 1000]
    # The cats and dogs of CIFAR-10 are among these, in another order and as JPEG copies: the
    # nearest image has the same label, and is nearer than 20 grey levels (root mean square).
    exact = cifar.load_cifar10(tmp_path, n_train=1, n_test=1017)
    kept = (exact.test_labels == cifar.CAT) | (exact.test_labels == cifar.DOG)
    original, copies = exact.test_inputs[kept].flatten(1), samples.test_inputs.flatten(1)
    distance, nearest = torch.cdist(original, copies).min(dim=1)
    assert len(set(nearest.tolist())) == int(kept.sum()) == 191
    assert float(distance.max()) / 3072**0.5 * 127.5 < 20
    assert torch.equal(samples.test_labels[nearest], (exact.test_labels[kept] == cifar.DOG).long())


def test_downloads_and_a_mirror_give_the_same_samples(official, monkeypatch):
    data = official / "data"
    downloaded = cifar.load_cifar10(data)
    assert [len(x) for x in downloaded] == [150, 150, 30, 30]
    # Both data sets come from one archive.
    cats_and_dogs = cifar.load_cifar2(data)
    assert sorted(p.name for p in (data / "downloads").iterdir()) == [
        "cifar-10-binary.tar.gz",
        "cifar10",
    ]
    for name in ("cifar10", "cifar2"):
        write_files(official / "mirror" / name)
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(official / "mirror"))
    assert same(cifar.load_cifar10(data), downloaded)
    assert same(cifar.load_cifar2(data), cats_and_dogs)


def test_cats_and_dogs_are_in_file_order(official):
    every = cifar.load_cifar10(official / "data")
    places = [i for i, label in enumerate(every.train_labels.tolist()) if label in (3, 5)]
    some = cifar.load_cifar2(official / "data", n_train=len(places) - 1, n_test=1)
    assert torch.equal(some.train_inputs, every.train_inputs[places[:-1]])
    assert torch.equal(some.train_labels, (every.train_labels[places[:-1]] == 5).long())
    assert len(some.test_labels) == 1


def test_limits_read_no_more_files_than_they_need(official):
    data = official / "data"
    every = cifar.load_cifar10(data)
    folder = data / "downloads/cifar10/cifar-10-batches-bin"
    for i in (3, 4, 5):
        (folder / f"data_batch_{i}.bin").unlink()
    some = cifar.load_cifar10(data, n_train=60, n_test=2)
    assert torch.equal(some.train_inputs, every.train_inputs[:60])
    with pytest.raises(FileNotFoundError, match="data_batch_3"):
        cifar.load_cifar10(data, n_train=61, n_test=2)


def test_more_samples_than_there_are_are_refused(official):
    with pytest.raises(ValueError, match="n_test must be at most 30, the samples at hand, got 31"):
        cifar.load_cifar10(official / "data", n_test=31)
    with pytest.raises(ValueError, match="n_train must be at least 1, got 0"):
        cifar.load_cifar2(official / "data", n_train=0)
