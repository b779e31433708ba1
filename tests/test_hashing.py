"""Counter-based random numbers: the documented hash, drawn in any part, without a pattern."""

from __future__ import annotations

import pytest
import torch

from headwater.hashing import random_below, random_words, stream_key
from tests import reference_projections as twin

PLACES = [0, 1, 2, 77, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 7 * 2**40 + 5]


def _unsigned(words: torch.Tensor) -> list:
    return (words.long() & 0xFFFFFFFF).tolist()


@pytest.mark.parametrize("key", [0, 1, 2**31, 2**32 + 9, 2**63 - 1, 2**64 - 1])
def test_words_are_the_hash_in_integers_of_any_size(key: int) -> None:
    wanted = [[twin.word(key, place, c) for c in range(5)] for place in PLACES]
    assert _unsigned(random_words(key, torch.tensor(PLACES), 5)) == wanted


def test_words_and_keys_never_change() -> None:
    assert stream_key("signs", 3, 0) == 6302532002836170402
    words = random_words(2**33 + 5, torch.tensor([0, 2**35]), 2)
    assert _unsigned(words) == [[559440053, 15859431], [786590619, 2550280722]]


def test_any_part_is_drawn_alone_in_any_shape() -> None:
    whole = random_words(5, torch.arange(60), 4)
    index = torch.tensor([[3, 59, 3], [0, 21, 40]])
    assert torch.equal(random_words(5, index, 4), whole[index])
    assert torch.equal(random_words(5, index.int(), 2), whole[index][..., :2])
    assert torch.equal(index, torch.tensor([[3, 59, 3], [0, 21, 40]])), "the index was changed"


def test_keys_differ_in_every_part_and_in_their_order() -> None:
    parts = [
        ("a", 1, 0),
        ("a", 0, 1),
        ("b", 1, 0),
        ("a", 1),
        ("a", 10),
        ("a", 2**70),
        ("a", 1, 0, ""),
    ]
    assert len({stream_key(*p) for p in parts}) == len(parts)


def test_no_two_places_have_the_same_first_word() -> None:
    assert len(random_words(9, torch.arange(2**18), 1).unique()) == 2**18


def test_words_have_no_pattern() -> None:
    """Each bit is fair beside the others, its neighbours, and the corners of any rectangle."""
    rows, columns = 2**12, 16
    for key in (0, stream_key("signs", 0, 0)):
        words = random_words(key, torch.arange(rows), columns)
        bits = 2 * (words[..., None] >> torch.arange(32) & 1) - 1  # (row, column, bit)
        flat = bits.reshape(rows, -1).double()
        bound = 5.5 / rows**0.5
        # Mean of each bit, and products of all pairs of bits within a row.
        assert float(flat.mean(0).abs().max()) < bound
        gram = (flat.T @ flat / rows).fill_diagonal_(0.0)
        assert float(gram.abs().max()) < bound
        # Products of rows: the largest of all pairs, and the spread that independent bits have.
        gram = flat[:1024] @ flat[:1024].T / flat.shape[1]
        off = gram[~torch.eye(1024, dtype=torch.bool)]
        assert float(off.abs().max()) < 6.0 / flat.shape[1] ** 0.5
        assert float(off.square().mean()) * flat.shape[1] == pytest.approx(1.0, abs=0.02)
        for step in (1, 2, 64, 1024):  # rectangles: what is linear in row and column is constant
            pairs = bits[step:] * bits[:-step]
            for aside in (1, 5):
                corners = (pairs[:, aside:] * pairs[:, :-aside]).double().mean(0)
                assert float(corners.abs().max()) < bound


@pytest.mark.parametrize("bound", [1, 3, 1000, 2**31 - 1])
def test_numbers_below_a_bound(bound: int) -> None:
    ends = torch.tensor([0, 1, -1, -2, 2**31 - 1, -(2**31)], dtype=torch.int32)
    wanted = [(int(w) % 2**32 >> 1) * bound // 2**31 for w in ends]
    assert random_below(ends, torch.tensor(bound)).tolist() == wanted
    drawn = random_below(random_words(1, torch.arange(20_000), 1), torch.tensor(bound)).double()
    assert bool((drawn >= 0).all()) and bool((drawn < bound).all())
    deviation = bound / (12 * 20_000) ** 0.5
    assert float(drawn.mean()) == pytest.approx((bound - 1) / 2, abs=5 * deviation)
