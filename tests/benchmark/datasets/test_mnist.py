import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from headwater.benchmark.datasets import mnist
from headwater.benchmark.datasets.download import download_verified

ROOT = Path(__file__).parents[3]


def maker():
    spec = importlib.util.spec_from_file_location("make_mnist10", ROOT / "data/make_mnist10.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_idx(path, array, kind=8):
    header = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return path


def test_committed_data():
    data = mnist.load_mnist10(ROOT / "data/mnist10.npz")
    assert data.train_images.shape == (5000, 784)
    assert data.test_images.shape == (500, 784)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    counts = [479, 563, 488, 493, 535, 434, 501, 550, 462, 495]
    assert np.bincount(data.train_labels).tolist() == counts


def test_rebuilding_gives_the_same_arrays_and_repeats_its_bytes(tmp_path, mirror, monkeypatch):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    make = maker().make_mnist10
    first, second = make(tmp_path / "a.npz"), make(tmp_path / "b.npz")
    assert first.read_bytes() == second.read_bytes()
    rebuilt, committed = mnist.load_mnist10(first), mnist.load_mnist10(ROOT / "data/mnist10.npz")
    for name in mnist.ARRAY_CHECKSUMS:
        np.testing.assert_array_equal(getattr(rebuilt, name), getattr(committed, name))


def test_changed_data_are_refused(tmp_path):
    with np.load(ROOT / "data/mnist10.npz") as archive:
        arrays = dict(archive)
    arrays["train_labels"] = arrays["train_labels"][::-1]
    np.savez(tmp_path / "mnist10.npz", **arrays)
    with pytest.raises(ValueError, match=r"train_labels of .* must have sha256"):
        mnist.load_mnist10(tmp_path / "mnist10.npz")
    del arrays["train_labels"]
    np.savez(tmp_path / "mnist10.npz", **arrays)
    with pytest.raises(ValueError, match="no such array"):
        mnist.load_mnist10(tmp_path / "mnist10.npz")


def test_idx_round_trip_and_broken_files(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = write_idx(tmp_path / "images.gz", array)
    np.testing.assert_array_equal(mnist.read_idx(path), array)
    with pytest.raises(ValueError, match="must be an IDX file"):
        mnist.read_idx(write_idx(tmp_path / "floats.gz", array, kind=13))
    for content in (b"", b"\0\0\x08", gzip.decompress(path.read_bytes())[:-1]):
        (tmp_path / "short.gz").write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match="must be an IDX file"):
            mnist.read_idx(tmp_path / "short.gz")


def test_mirror_is_used_and_must_be_complete(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(tmp_path))
    name = "t10k-labels-idx1-ubyte.gz"
    with pytest.raises(FileNotFoundError, match="must hold mnist/t10k-labels"):
        mnist.find_official(name)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / name).write_bytes(b"")
    assert mnist.find_official(name) == tmp_path / "mnist" / name
    with pytest.raises(ValueError, match="name must be one of"):
        mnist.find_official("labels")


def test_download_is_verified_and_leaves_nothing_behind(tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(b"digits")
    digest = mnist.array_checksum(np.frombuffer(b"digits", dtype=np.uint8))
    target = tmp_path / "downloads" / "mnist" / "source.bin"
    with pytest.raises(ValueError, match="must have sha256"):
        download_verified(source.as_uri(), target, "0" * 64)
    assert list(target.parent.iterdir()) == []
    assert download_verified(source.as_uri(), target, digest).read_bytes() == b"digits"
    source.unlink()
    download_verified(source.as_uri(), target, digest)
    assert [p.name for p in target.parent.iterdir()] == ["source.bin"]


def test_broken_download_is_replaced(tmp_path):
    source, target = tmp_path / "source.bin", tmp_path / "target.bin"
    source.write_bytes(b"digits")
    target.write_bytes(b"dig")
    digest = mnist.array_checksum(np.frombuffer(b"digits", dtype=np.uint8))
    assert download_verified(source.as_uri(), target, digest).read_bytes() == b"digits"


def test_normalise():
    pixels = mnist.normalise(np.array([[0, 255]], dtype=np.uint8))
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, torch.tensor([[-0.1307 / 0.3081, 0.8693 / 0.3081]]))
