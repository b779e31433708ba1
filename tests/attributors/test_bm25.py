"""BM25 of token sequences: what counts, and its sign."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.attributors import BM25


class Tagger(nn.Module):
    """One score a token, whatever the other tokens are."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Embedding(9, 9)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.scores(input_ids)


def _task(target=targets.margin) -> AttributionTask:
    return AttributionTask(Tagger(), targets.cross_entropy, target)


def _batch(*sentences: list[int]) -> tuple[Tensor, Tensor]:
    tokens = torch.tensor(sentences)
    return tokens[:, :-1], tokens[:, 1:]


TRAIN = [_batch([1, 2, 3, 4], [1, 2, 5, 6], [7, 8, 7, 8])]
TEST = [_batch([1, 2, 3, 6])]


def test_the_more_a_sample_shares_the_more_it_helps() -> None:
    for target, sign in ((targets.margin, 1.0), (targets.cross_entropy, -1.0)):
        found = BM25(_task(target)).cache(TRAIN).attribute(TRAIN, TEST)[:, 0] * sign
        assert float(found[0]) > float(found[1]) > float(found[2]) == 0.0


def test_order_counts_for_long_ngrams_only() -> None:
    forwards, backwards = [_batch([1, 2, 3, 4], [5, 6, 7, 8])], [_batch([4, 3, 2, 1])]
    single, double = (
        BM25(_task(), n=n).cache(forwards).attribute(forwards, backwards)[0, 0] for n in (1, 2)
    )
    assert float(single) > 0.0
    whole = BM25(_task(), n=2).cache(forwards).attribute(forwards, forwards)[0, 0]
    assert float(whole) > 2 * float(double)


@pytest.mark.parametrize("side", [(0, 3), (3, 0)], ids=["right", "left"])
def test_masked_tokens_and_their_labels_do_not_count(side: tuple[int, int]) -> None:
    def scores(padding: tuple[int, int]) -> Tensor:
        pad = lambda t, value: nn.functional.pad(t, padding, value=value)  # noqa: E731
        data = [
            {"input_ids": pad(x, 1), "labels": pad(y, 2), "attention_mask": pad(x > 0, False)}
            for x, y in TRAIN
        ]
        loss = lambda model, batch: targets.cross_entropy(model, batch) * 1.0  # noqa: E731
        attributor = BM25(AttributionTask(Tagger(), loss)).cache(data)
        return attributor.attribute(data, data)

    assert torch.equal(scores(side), scores((0, 0)))


def test_a_class_is_a_term_of_its_own() -> None:
    class Classifier(Tagger):
        def forward(self, input_ids: Tensor) -> Tensor:
            return self.scores(input_ids).mean(1)

    task = AttributionTask(Classifier(), targets.cross_entropy, targets.margin)
    train = [(torch.tensor([[3, 4], [5, 6]]), torch.tensor([0, 3]))]
    test = [(torch.tensor([[3, 7]]), torch.tensor([3]))]
    found = BM25(task, n=1).cache(train).attribute(train, test)[:, 0]
    assert float(found[0]) == float(found[1]) > 0.0  # one shares the token 3, one the class 3


def test_what_has_no_tokens_is_refused() -> None:
    x, y = TRAIN[0]
    nothing = torch.full_like(y, -100)
    with pytest.raises(ValueError, match="BM25 needs tokens that count, got none"):
        BM25(_task(targets.cross_entropy)).cache([(x, nothing)]).attribute([(x, nothing)], TEST)
    with pytest.raises(ValueError, match="n must be"):
        BM25(_task(), n=0)


def test_without_its_library_one_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'headwater\[text\]'"):
        BM25(_task())
