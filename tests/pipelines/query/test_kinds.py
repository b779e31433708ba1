"""Files of new samples: they are what the setting's own data are."""

import mido
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from headwater.benchmark.datasets import cifar, mnist, shakespeare
from headwater.benchmark.settings import get_setting
from pipelines.query.kinds import kind_of
from tests.pipelines.toy import ROOT

LENGTH = 64


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


def kind(name):
    return kind_of(get_setting(name))


def test_an_image_of_mnist(tmp_path):
    pixels = np.arange(784, dtype=np.uint8).reshape(28, 28)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    inputs, labels = kind("mnist-mlp").read(tmp_path / "digit.png", (784,))
    assert labels is None
    assert torch.equal(inputs, mnist.normalise(pixels.reshape(1, 784)))


@pytest.mark.parametrize(("name", "size"), [("cifar2-resnet9", 32), ("cifar10-resnet9-small", 16)])
def test_an_image_of_cifar(tmp_path, name, size):
    planes = np.random.default_rng(0).integers(256, size=(3, 32, 32), dtype=np.uint8)
    Image.fromarray(planes.transpose(1, 2, 0)).save(tmp_path / "pet.png")
    inputs, _ = kind(name).read(tmp_path / "pet.png", (3, size, size))
    assert torch.equal(inputs, F.avg_pool2d(cifar.normalise(planes[None]), 32 // size))


def test_the_names_of_classes():
    image = torch.zeros(3, 32, 32)
    assert kind("cifar2-resnet9").show(image, torch.tensor(1)) == "dog"
    assert kind("cifar10-resnet9").show(image, torch.tensor(9)) == "truck"
    assert kind("mnist-lr").show(torch.zeros(784), torch.tensor(7)) == "7"


def test_a_text_of_shakespeare(tmp_path):
    text = shakespeare.load_text()[: LENGTH + 20]
    (tmp_path / "play.txt").write_text(text)
    found = kind("shakespeare-nanogpt-small")
    inputs, labels = found.read(tmp_path / "play.txt", (LENGTH,))
    samples = shakespeare.load_samples(length=LENGTH, n_train=1, n_test=1)
    assert torch.equal(inputs, samples.train_inputs)
    assert torch.equal(labels, samples.train_labels)
    assert found.show(inputs[0], labels[0]).startswith("First Citizen: Before we proceed")


def test_a_piece_of_music(tmp_path):
    midi = mido.MidiFile()
    midi.tracks.append(mido.MidiTrack())
    for pitch in range(40, 80):
        midi.tracks[0].append(mido.Message("note_on", note=pitch, velocity=64, time=0))
        midi.tracks[0].append(mido.Message("note_off", note=pitch, velocity=0, time=240))
    midi.save(tmp_path / "scale.mid")
    found = kind("maestro-music-transformer-small")
    inputs, labels = found.read(tmp_path / "scale.mid", (LENGTH,))
    assert inputs.shape == labels.shape == (1, LENGTH)
    assert torch.equal(inputs[:, 1:], labels[:, :-1])
    assert "notes: E2 F2 F#2" in found.show(inputs[0], labels[0])


@pytest.mark.parametrize(
    ("name", "file", "content", "shape", "words"),
    [
        ("mnist-lr", "a.png", b"no image", (784,), "must be an image"),
        ("shakespeare-nanogpt", "a.txt", b"To be", (256,), "at least 257 characters"),
        ("shakespeare-nanogpt", "a.txt", b"\xff\xfe" * 200, (256,), "must be a text in UTF-8"),
        (
            "shakespeare-nanogpt",
            "a.txt",
            "é".encode() * 300,
            (256,),
            "characters of the vocabulary",
        ),
        ("maestro-music-transformer", "a.mid", b"no music", (256,), "must be a MIDI file"),
    ],
)
def test_a_wrong_file_is_said(tmp_path, name, file, content, shape, words):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        kind(name).read(tmp_path / file, shape)


def test_an_image_of_another_size_is_refused(tmp_path):
    Image.new("RGB", (40, 32)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="must have 32 x 32 pixels"):
        kind("cifar2-resnet9").read(tmp_path / "wide.png", (3, 32, 32))
