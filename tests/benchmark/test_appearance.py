"""Samples look like what their data sets hold."""

import numpy as np
import torch

from headwater.benchmark.appearance import CHARACTERS, appearance, class_names
from headwater.benchmark.datasets import mnist, shakespeare
from headwater.explorer import Images, Text
from headwater.pages import Files
from tests.conftest import ROOT


def test_characters_are_those_of_the_text():
    text = shakespeare.load_text(ROOT / "data" / "shakespeare.txt")
    assert shakespeare.vocabulary(text) == CHARACTERS
    codes = shakespeare.encode("First Citizen:\n", CHARACTERS)
    assert appearance("shakespeare-nanogpt-small", codes[None]).describe(0) == "First Citizen:\n"


def test_pixels_come_back():
    pixels = np.arange(784 * 2).reshape(2, 784) % 256
    shown = appearance("mnist-mlp", mnist.normalise(pixels.astype(np.uint8)))
    assert isinstance(shown, Images)
    np.testing.assert_array_equal(shown._pixels.reshape(2, 784), pixels)
    assert appearance("cifar2-resnet9-small", torch.ones(2, 3, 16, 16))._pixels.min() == 255


def test_events_are_notes():
    files = Files()
    shown = appearance("maestro-music-transformer", torch.tensor([[372, 60, 355, 280, 188]]))
    assert shown.describe(0) == "1 notes in 1.2 s"
    assert shown.pack(np.arange(1), files, "x") == {"file": "x.music"}


def test_what_nobody_knows_is_shown_as_its_shape_says():
    assert isinstance(appearance("mine", torch.rand(2, 3, 4, 4)), Images)
    table = appearance("mine", torch.tensor([[1.0, 2.5]]))
    assert isinstance(table, Text) and table.describe(0) == "1 2.5"


def test_classes_have_names():
    assert class_names("cifar2-resnet9", torch.tensor([0, 1])) == ["cat", "dog"]
    assert class_names("mnist-lr", torch.tensor([0, 2])) == ["0", "1", "2"]
    assert class_names("shakespeare-nanogpt", torch.zeros(2, 3)) is None
