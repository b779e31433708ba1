"""Blocks of gradients: joined and cut, in memory or in files, and never a bit else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from headwater import memory
from headwater.gradients import GradientCapture, Gradients, concatenate
from headwater.gradients.spill import Allowance, GradientBlocks
from tests.problems import PROBLEMS, split


def _captured(name: str, sizes: int | list[int]) -> list[Gradients]:
    problem = PROBLEMS[name]()
    capture = GradientCapture(problem.task().bind(), problem.loss)
    return [capture(batch) for batch in split(problem.train, sizes)]


def _blocks(parts: list[Gradients], limit: int = 10**9) -> GradientBlocks:
    blocks = GradientBlocks(Allowance(limit))
    for part in parts:
        blocks.add(part)
    return blocks


def _folders(blocks: GradientBlocks) -> list[Path]:
    return [] if blocks._folder is None else [blocks._folder]


def _tensors(blocks: GradientBlocks) -> Iterator[dict[str, torch.Tensor]]:
    return (block.tensors() for block in blocks)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("sizes", [9, 1, [2, 6, 1]], ids=str)
def test_what_is_in_files_is_the_same_to_the_bit(
    name: str, sizes: int | list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = _captured(name, sizes)
    kept = _blocks(parts)
    assert not _folders(kept)
    kept.close()
    assert kept.held == kept.nbytes > 0
    monkeypatch.setattr(Allowance, "fits", lambda self, size: False)
    spilled = _blocks(parts)
    spilled.close()
    assert (spilled.held, spilled.nbytes) == (0, kept.nbytes)
    assert _folders(spilled)
    for here, there in zip(_tensors(kept), _tensors(spilled), strict=True):
        assert here.keys() == there.keys()
        for tensor, again in zip(here.values(), there.values(), strict=True):
            assert torch.equal(tensor, again)
            assert tensor.dtype == again.dtype
            assert tensor.stride() == again.stride()
            assert tensor.data_ptr() % 64 == again.data_ptr() % 64 == 0
    assert torch.equal(kept.values(), spilled.values())
    wanted = concatenate(parts).dense()
    assert torch.allclose(torch.cat([block.dense() for block in spilled]), wanted)


def test_the_files_go_with_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Allowance, "fits", lambda self, size: False)
    blocks = _blocks(_captured("mlp", 3))
    blocks.close()
    (folder,) = _folders(blocks)
    assert [path.name for path in folder.iterdir()] == ["0.safetensors"]
    del blocks
    assert not folder.exists()


def test_small_batches_are_joined_and_large_ones_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.arange(300.0).view(150, 2)
    joined = _blocks([Gradients.of_vectors(row) for row in vectors.split(1)])
    assert [len(block) for block in joined] == [150]
    monkeypatch.setattr(memory, "CACHED", {"cpu": 20})
    assert [len(block) for block in _blocks([Gradients.of_vectors(vectors)] * 2)] == [150, 150]
    monkeypatch.setattr("headwater.gradients.spill.LARGE", {"cpu": 30})
    cut = _blocks([Gradients.of_vectors(row) for row in vectors.split(7)])
    assert [len(block) for block in cut] == [7] * 20 + [10]
    small = _blocks([Gradients.of_vectors(vectors)], limit=4 * 10 * 3 * 4)
    assert {len(block) for block in small} == {10}
    for blocks in (joined, cut, small):
        assert torch.equal(torch.cat([block.dense() for block in blocks]), vectors)


def test_no_block_has_other_forms_or_much_padding() -> None:
    problem = PROBLEMS["sequence"]()
    capture = GradientCapture(problem.task().bind(), problem.loss)
    x, y = problem.train
    parts = [capture((x[:3, :t], y[:3, :t])) for t in (1, 1, 6, 6, 5, 1)]
    blocks = list(_blocks(parts))
    formed = [str([term.form() for term in block.terms]) for block in parts]
    assert len(set(formed)) > 1, "short sequences are kept as factors, long ones formed"
    assert sum(len(block) for block in blocks) == 18
    for block in blocks:
        mine = str([term.form() for term in block.terms])
        assert block.nbytes <= 2 * sum(
            p.nbytes for p, form in zip(parts, formed, strict=True) if form == mine
        )
    wanted = torch.cat([part.dense() for part in parts])
    assert torch.allclose(torch.cat([block.dense() for block in blocks]), wanted)


def test_only_the_blocks_of_the_wanted_samples_are_read() -> None:
    vectors = torch.arange(40.0).view(20, 2)
    blocks = _blocks([Gradients.of_vectors(vectors)], limit=4 * 6 * 3 * 4)
    assert [len(block) for block in blocks] == [5, 5, 5, 5]
    for rows in (slice(0, 20), slice(5, 7), slice(5, 10), slice(17, 20), slice(None)):
        found = torch.cat([block.dense() for block in blocks.between(rows)])
        assert torch.equal(found, vectors[rows])
    blocks._blocks[1] = lambda: pytest.fail("a block was read for nothing")
    assert len(list(blocks.between(slice(10, 20)))) == 2
    assert len(blocks.values()) == len(blocks) == 20


def test_collections_share_their_allowance_as_long_as_they_live() -> None:
    gradients = Gradients.of_vectors(torch.ones(10, 4))
    allowance = Allowance(gradients.nbytes)
    first, second = GradientBlocks(allowance), GradientBlocks(allowance)
    for blocks in (first, second):
        blocks.add(gradients)
        blocks.close()
    assert (first.held > 0, second.held) == (True, 0)
    del first
    third = GradientBlocks(allowance)
    third.add(gradients)
    third.close()
    assert third.held > 0


def test_nothing_of_the_loader_is_kept() -> None:
    vectors = torch.ones(3, 2)
    blocks = _blocks([Gradients.of_vectors(vectors)])
    blocks.close()
    vectors.zero_()
    (block,) = blocks
    assert bool(block.dense().all())
