"""Labels drawn from the model: their numbers, their probabilities, and what they do not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from headwater import AttributionTask, targets
from headwater.curvature import KFAC, ClassGaussNewton
from headwater.curvature.sampled_labels import (
    check_cross_entropy,
    draw_classes,
    sampled_batches,
)
from headwater.gradients.source import CapturedSource
from headwater.hashing import uniform
from tests.problems import PROBLEMS, randomised

CAUSAL = targets.causal(targets.cross_entropy)
TOKENS = torch.tensor([[3, 1, 4, 1, 2], [2, 0, 3, 0, 0], [4, 0, 2, 1, 0], [1, 1, 0, 0, 0]])
LENGTHS = torch.tensor([5, 3, 4, 2])
MASK = (torch.arange(5) < LENGTHS[:, None]).long()


class TinyLanguageModel(nn.Module):
    """The next token from this one and the number of real ones before it."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.out = nn.Embedding(5, 4), nn.Linear(4, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        count = (attention_mask.cumsum(1) * attention_mask).unsqueeze(2)
        return {"logits": self.out(torch.tanh(self.tokens(input_ids) + 0.1 * count))}


def _task(loss=CAUSAL) -> AttributionTask:
    return AttributionTask(randomised(TinyLanguageModel().double(), seed=1), loss)


def _batch(rows: slice = slice(None), before: int = 0, after: int = 0) -> dict[str, Tensor]:
    return {
        "input_ids": pad(TOKENS[rows], (before, after)),
        "attention_mask": pad(MASK[rows], (before, after)),
    }


def _slow_uniform(*numbers: int) -> float:
    """The definition, in whole numbers of Python."""

    def mixed(word: int) -> int:
        word = (word ^ word >> 16) * 0x7FEB352D % 2**32
        word = (word ^ word >> 15) * 0x846CA68B % 2**32
        return word ^ word >> 16

    word = 0x7FEB352D
    for number in numbers:
        word = mixed(word ^ mixed(number * 0x9E3779B9 % 2**32))
    return ((word + 2**31) % 2**32 + 0.5) / 2**32


def test_uniform_numbers_are_those_of_their_definition() -> None:
    sample, position = torch.tensor([0, 7, 2**31 + 5])[:, None], torch.tensor([0, 1, 900])
    found = uniform([0, 2**40 + 9], sample, position)
    for i, a in enumerate(sample.flatten().tolist()):
        for j, b in enumerate(position.tolist()):
            assert found[i, j] == _slow_uniform(0, 9, 2**8, a, b)


def test_uniform_numbers_are_uniform_and_not_alike() -> None:
    u = uniform([3], torch.arange(400)[:, None], torch.arange(400))
    assert 0.0 < float(u.min()) and float(u.max()) < 1.0
    counts = torch.histc(u, 100, 0.0, 1.0)
    assert float((counts - 1600).abs().max()) < 5 * 40
    assert len(u.unique()) > 0.9999 * u.numel()
    for other in (
        u.T,
        u.roll(1, 0),
        u.roll(1, 1),
        uniform([4], torch.arange(400)[:, None], torch.arange(400)),
    ):
        assert abs(float(torch.corrcoef(torch.stack([u.flatten(), other.flatten()]))[0, 1])) < 0.01


def test_draws_take_every_class_that_has_a_probability() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).expand(4, -1)
    u = torch.tensor([2.0**-33, 0.499, 0.501, 1 - 2.0**-33], dtype=torch.float64)
    assert draw_classes(logits, u).tolist() == [1, 1, 3, 3]
    assert draw_classes(logits[:0], u[:0]).tolist() == []


def test_the_workspace_changes_no_draw(monkeypatch) -> None:
    logits, u = torch.randn(50, 7), uniform([0], torch.arange(50))
    wanted = draw_classes(logits, u)
    monkeypatch.setattr("headwater.curvature.sampled_labels.WORKSPACE", 21)
    assert torch.equal(draw_classes(logits, u), wanted)


def _causal_labels(first_row: int = 0, **batch) -> list[Tensor]:
    """The labels of real tokens of two draws, sample by sample."""
    given = _batch(**batch)
    found = sampled_batches(_task().bind(), given, 2, 7, first_row, CAUSAL)
    real = given["attention_mask"].bool()
    assert all((drawn["labels"][~real] == -100).all() for drawn in found)
    return [torch.stack([b["labels"][i][real[i]] for b in found]) for i in range(len(real))]


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 9), (3, 0), (2, 1)])
def test_neither_batches_nor_padding_change_a_label(before: int, after: int) -> None:
    wanted = _causal_labels()
    for sizes in ([4], [1, 3], [2, 1, 1]):
        found, done = [], 0
        for size in sizes:
            rows = slice(done, done + size)
            found += _causal_labels(first_row=done, rows=rows, before=before, after=after)
            done += size
        assert all(map(torch.equal, found, wanted))
    torch.manual_seed(5)
    assert all(map(torch.equal, _causal_labels(), wanted)), "the global generator counts"
    for labels, length in zip(wanted, LENGTHS.tolist(), strict=True):
        assert labels.shape == (2, length)
        assert (labels[:, 0] == -100).all() and (labels[:, 1:] >= 0).all()


@pytest.mark.parametrize("causal", [False, True])
def test_labels_have_the_probabilities_of_the_model(causal: bool) -> None:
    task = _task(CAUSAL if causal else targets.cross_entropy)
    batch = {**_batch(), "labels": TOKENS.masked_fill(MASK == 0, -100)}
    drawn = sampled_batches(task.bind(), batch, 4000, 0, 0, task.loss)
    labels = torch.stack([b["labels"] for b in drawn])
    p = task.bind().module(**_batch())["logits"].softmax(2)
    if causal:
        assert (labels[:, :, 0] == -100).all()
        labels, p = labels[:, :, 1:], p[:, :-1]
    for i, length in enumerate(LENGTHS.tolist()):
        for t in range(length - causal):
            found = nn.functional.one_hot(labels[:, i, t], 5).double().mean(0)
            assert torch.allclose(found, p[i, t], atol=0.035)
        assert (labels[:, i, length - causal :] == -100).all()


def test_labels_of_positions_are_independent() -> None:
    model = nn.Linear(1, 2, bias=False).double()
    task = AttributionTask(model, targets.cross_entropy)
    batch = torch.zeros(3, 2, 1, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.int64)
    labels = torch.stack([b[1].flatten() for b in sampled_batches(task.bind(), batch, 4000, 0)])
    assert float((torch.corrcoef(labels.double().T) - torch.eye(6)).abs().max()) < 0.06


def test_gradients_are_those_of_the_loss_at_the_drawn_labels() -> None:
    task = _task()
    source = CapturedSource(task, 0, [_batch(slice(0, 1)), _batch(slice(1, 4))])
    found = KFAC(draws=2, seed=3).gradients(source)
    values = [gradients.values for gradients in found]
    wanted = sampled_batches(task.bind(), _batch(), 2, 3, 0, CAUSAL)
    for draw, batch in enumerate(wanted):
        losses = CAUSAL(task.bind().module, batch)
        assert torch.allclose(torch.cat([values[draw], values[2 + draw]]), losses)


# Which loss it is ------------------------------------------------------------------------------


def test_the_loss_is_found_out_by_its_values() -> None:
    batch = {**_batch(), "labels": TOKENS.masked_fill(MASK == 0, -100)}
    for loss in (targets.cross_entropy, CAUSAL):
        mine = lambda model, batch, loss=loss: 1.0 * loss(model, batch)  # noqa: E731
        task = _task(mine)
        assert check_cross_entropy(task.bind(), task.loss, batch) == loss
    task = _task()
    assert check_cross_entropy(task.bind(), task.loss, _batch()) == CAUSAL


def test_another_loss_of_sequences_is_refused() -> None:
    mean = lambda model, batch: CAUSAL(model, batch) / 4  # noqa: E731
    task = _task(mean)
    with pytest.raises(ValueError, match=r"causal.cross_entropy., got .* instead of .* at sample"):
        check_cross_entropy(task.bind(), task.loss, _batch())


def test_all_classes_of_sequences_are_refused() -> None:
    batch = {**_batch(), "labels": TOKENS}
    for loss in (targets.cross_entropy, CAUSAL):
        task = _task(loss)
        with pytest.raises(ValueError, match="one label per sample, got sequences of 5 positions"):
            ClassGaussNewton().check(task.bind(), task, batch)


class Wrapped(nn.Module):
    """A model that takes keyword arguments and returns a ModelOutput."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> object:
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(logits=self.model(x))


def test_all_classes_of_a_model_in_the_manner_of_transformers() -> None:
    problem, found = PROBLEMS["mlp"](), []
    x, y = problem.train
    for model, batch in ((problem.model, (x, y)), (Wrapped(problem.model), {"x": x, "labels": y})):
        task = AttributionTask(model, targets.cross_entropy)
        curvature = ClassGaussNewton(draws=2, seed=1)
        curvature.check(task.bind(), task, batch)
        source = CapturedSource(task, 0, [batch])
        found.append(curvature.operator(source, curvature.estimate(source)).dense())
    assert torch.allclose(*found)
