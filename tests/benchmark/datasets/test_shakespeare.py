from pathlib import Path

import pytest
import torch

from headwater.benchmark.datasets import shakespeare
from headwater.benchmark.datasets.sequences import blocks

ROOT = Path(__file__).parents[3]


def test_committed_text_is_the_official_one(mirror):
    text = shakespeare.load_text(ROOT / "data/shakespeare.txt")
    assert text.encode() == (mirror / "shakespeare/input.txt").read_bytes()
    assert len(text) == 1_115_394
    characters = shakespeare.vocabulary(text)
    assert len(characters) == 65
    assert characters.startswith("\n !$&',-.3:;?ABC")


def test_samples():
    samples = shakespeare.load_samples(ROOT / "data")
    shapes = [(3921, 256), (3921, 256), (435, 256), (435, 256)]
    assert [tuple(x.shape) for x in samples] == shapes
    assert all(x.dtype == torch.int64 for x in samples)
    text = shakespeare.load_text(ROOT / "data/shakespeare.txt")
    characters = shakespeare.vocabulary(text)
    for inputs, labels, start in ((*samples[:2], 0), (*samples[2:], 1_003_854)):
        for i in (0, 1, len(inputs) - 1):
            at = start + 256 * i
            assert shakespeare.decode(inputs[i], characters) == text[at : at + 256]
            assert shakespeare.decode(labels[i], characters) == text[at + 1 : at + 257]


def test_limits_and_lengths():
    every = shakespeare.load_samples(ROOT / "data", length=100)
    some = shakespeare.load_samples(ROOT / "data", length=100, n_train=7, n_test=3)
    for few, all_of_them, n in zip(some, every, (7, 7, 3, 3), strict=True):
        assert torch.equal(few, all_of_them[:n])
    with pytest.raises(ValueError, match="n_test must be at most 435"):
        shakespeare.load_samples(ROOT / "data", n_test=500)


def test_a_changed_text_is_refused(tmp_path):
    content = (ROOT / "data/shakespeare.txt").read_bytes()
    (tmp_path / "shakespeare.txt").write_bytes(content.replace(b"\n", b"\r\n", 1))
    with pytest.raises(ValueError, match=r"shakespeare.txt must have sha256 86c4"):
        shakespeare.load_samples(tmp_path)


def test_unknown_characters_are_refused():
    with pytest.raises(ValueError, match="got 'xz': drop"):
        shakespeare.encode("zaxa", "ab")


@pytest.mark.parametrize(("n_tokens", "n"), [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2)])
def test_a_block_has_all_its_labels(n_tokens, n):
    inputs, labels = blocks(torch.arange(n_tokens), 4)
    assert inputs.shape == labels.shape == (n, 4)
    assert torch.equal(labels, inputs + 1)
    assert inputs.flatten().tolist() == list(range(4 * n))


def test_blocks_of_no_length_are_refused():
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        blocks(torch.arange(3), 0)
