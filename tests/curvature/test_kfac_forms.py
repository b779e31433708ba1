"""K-FAC and EK-FAC of padded sequences, of tables, and of gradients in any form."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from headwater.curvature import EKFAC, KFAC, KeptBlocks, KroneckerOperator
from headwater.curvature.kfac import eigenbases
from headwater.gradients import (
    Dense,
    GradientCapture,
    Gradients,
    GradientStore,
    StoreDescription,
    StoreWriter,
)
from headwater.gradients.source import CapturedSource, GradientSource, StoredSource
from headwater.solvers import Eigenbasis
from tests.groups import train_gradients
from tests.problems import PROBLEMS, Problem, cross_entropy, randomised, split

CURVATURES = {"K-FAC": KFAC, "EK-FAC": EKFAC}


@pytest.fixture(params=CURVATURES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def _operator(source: GradientSource, curvature: KFAC) -> KroneckerOperator:
    return curvature.operator(source, curvature.estimate(source))


def _close(found: Tensor, wanted: Tensor, tolerance: float = 1e-10) -> bool:
    return float((found - wanted).norm()) <= tolerance * float(wanted.norm())


# Padding ---------------------------------------------------------------------------------------


def _padded(sizes: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Return the same sentences in batches, each as long as the longest sentence in it."""
    tokens, following = PROBLEMS["padded language model"]().train
    longest = [int((batch[0] != 0).sum(1).max()) for batch in split((tokens, following), sizes)]
    parts = zip(split((tokens, following), sizes), longest, strict=True)
    return [(x[:, :length], y[:, :length]) for (x, y), length in parts]


def _scores(source: GradientSource, curvature: KFAC) -> Tensor:
    """Return the scores of all pairs of training samples."""
    solver, operator = Eigenbasis(1e-3), _operator(source, curvature)
    solved = solver.solve_gradients(operator, {}, train_gradients(source))
    start, found = 0, []
    for block in source.train_blocks():
        found.append(solver.score(block, slice(start, start + len(block)), solved))
        start += len(block)
    return torch.cat(found)


def _stored(source: GradientSource, folder: Path) -> StoredSource:
    """Return the same gradients from a store, which pads all of them to one length."""
    g = train_gradients(source)
    writer = StoreWriter(
        folder, StoreDescription("tiny", "train", "loss", "", dtype="float64"), len(g), 4
    )
    writer.start(g)
    for rows in writer.missing():
        writer.write(rows, g[rows])
    return StoredSource(source.task, 0, source.batches, GradientStore(folder), None)


@pytest.mark.parametrize(
    ("kind", "sharing"), [("K-FAC", "expand"), ("K-FAC", "reduce"), ("EK-FAC", "expand")]
)
def test_padding_and_batches_change_no_score(kind: str, sharing: str, tmp_path: Path) -> None:
    # The same sentences in 1, 3 and 9 batches: longer padding, more positions that do not count.
    # (Reduced, nine samples leave directions open, in which EK-FAC depends on the basis.)
    problem = PROBLEMS["padded language model"]()
    curvature = CURVATURES[kind](labels="empirical", sharing=sharing)
    sources = [CapturedSource(problem.task(), 0, _padded(s)) for s in ([9], [3] * 3, [1] * 9)]
    lengths = [{len(batch[0][0]) for batch in source.batches} for source in sources]
    assert lengths[0] == {5} and len(lengths[2]) > 1, "no batch is shorter than another"
    wanted = _scores(sources[0], curvature)
    for source in [*sources[1:], _stored(sources[1], tmp_path / "store")]:
        assert _close(_scores(source, curvature), wanted)


def test_drawn_labels_of_padded_sequences_do_not_depend_on_the_batches() -> None:
    problem, curvature = PROBLEMS["padded language model"](), EKFAC(draws=2)
    task = problem.task(loss=_summed)
    found = [_scores(CapturedSource(task, 0, _padded(s)), curvature) for s in ([9], [1] * 9)]
    assert _close(found[1], found[0])


def _summed(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    logits, labels = model(batch[0]), batch[1]
    return F.cross_entropy(logits.mT, labels, reduction="none", ignore_index=-100).sum(1)


# Forms -----------------------------------------------------------------------------------------


def test_tables_and_transposed_weights_are_as_plain_ones(kind: str) -> None:
    # An embedding of one token is a Linear layer on a one-hot input; Conv1D of transformers is one
    # whose weight is stored as (d_in, d_out).
    class Net(nn.Module):
        def __init__(self, plain: bool) -> None:
            super().__init__()
            self.table = nn.Linear(5, 4, bias=False) if plain else nn.Embedding(5, 4)
            self.head = nn.Linear(4, 3) if plain else Conv1D(3, 4)
            self.plain = plain

        def forward(self, tokens: Tensor) -> Tensor:
            x = F.one_hot(tokens, 5).to(self.head.weight) if self.plain else tokens
            return self.head(torch.tanh(self.table(x)))

    plain, other = randomised(Net(True).double(), seed=1), Net(False).double()
    with torch.no_grad():
        other.table.weight.copy_(plain.table.weight.T)
        other.head.weight.copy_(plain.head.weight.T)
        other.head.bias.copy_(plain.head.bias)
    batch = torch.tensor([0, 3, 1, 1, 4, 0, 2, 2, 2]), torch.arange(9) % 3
    curvature = CURVATURES[kind](labels="empirical")
    found = []
    for model in (plain, other):
        problem = Problem(model, cross_entropy, batch, batch)
        source = CapturedSource(problem.task(), 0, [batch])
        operator = _operator(source, curvature)
        solver = Eigenbasis(0.1)
        solved = solver.solve_gradients(operator, {}, train_gradients(source))
        scores = solver.score(train_gradients(source), slice(0, 9), solved)
        found.append((scores, operator.trace()))
        table = operator.blocks[operator.scheme.names.index("table.weight")]
        assert (table.inputs is None) == (model is other), "a table needs no V x V matrix"
    if kind == "K-FAC":  # a diagonal A has one basis, up to equal frequencies
        assert _close(found[1][0], found[0][0])
    assert found[1][1] == pytest.approx(found[0][1])


@pytest.mark.parametrize("name", ["mixed", "sequence", "padded language model", "conv net"])
def test_formed_gradients_score_as_factors_do(name: str, kind: str) -> None:
    problem = PROBLEMS[name]()
    task = problem.task()
    source = CapturedSource(task, 0, [problem.train])
    operator = _operator(source, CURVATURES[kind](labels="empirical"))
    g = GradientCapture(task.bind(), task.loss, keep_factors=True)(problem.train)
    formed = Gradients(g.scheme, [term.formed() for term in g.terms], g.values)
    solver = Eigenbasis(0.01)
    wanted = solver.quadratic(operator, {}, KeptBlocks((g,)), 1)
    assert _close(solver.quadratic(operator, {}, KeptBlocks((formed,)), 1), wanted)
    scores = [
        solver.score(train, slice(0, 9), solver.solve_gradients(operator, {}, test))
        for train in (g, formed)
        for test in (g, formed)
    ]
    assert all(_close(other, scores[0]) for other in scores[1:])
    assert _close(scores[0].diagonal(), wanted)


def test_gradients_some_of_which_lost_their_factors_are_refused() -> None:
    problem = PROBLEMS["mlp"]()
    g = train_gradients(CapturedSource(problem.task(), 0, [problem.train]))
    formed = Gradients(g.scheme, [term.formed() for term in g.terms], g.values)
    with pytest.raises(ValueError, match=r"all gradients of body\.0\.weight in one form"):
        eigenbases([g, formed])
    zero = Gradients(g.scheme, [Dense(0 * term.dense()) for term in g.terms], g.values)
    both = eigenbases([g, zero]).dense()  # a batch that does not reach a layer
    assert torch.allclose(2 * both[:42, :42], eigenbases([g]).dense()[:42, :42])


def test_factors_that_do_not_fit_are_refused_before_they_are_made(monkeypatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    problem = PROBLEMS["mlp"]()
    task = problem.task(memory_budget="1GB")
    with pytest.raises(MemoryError, match=r"Kronecker factors for each weight needs .* layers="):
        eigenbases([GradientCapture(task.bind(), task.loss)(problem.train)])
