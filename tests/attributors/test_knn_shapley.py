"""KNN-Shapley: the axioms of Shapley values, and enumeration of all subsets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import memory, targets
from headwater.attributors import KNNShapley
from headwater.attributors.knn_shapley import neighbour_shapley
from tests import reference_features as slow
from tests.problems import PROBLEMS, split


def _game(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    distance = torch.rand(3, n, generator=generator, dtype=torch.float64)
    return distance, torch.rand(3, n, generator=generator) < 0.5


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 7), neighbours=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_values_equal_the_enumeration_of_all_subsets(n: int, neighbours: int, seed: int) -> None:
    distance, matches = _game(n, seed)
    wanted = [
        slow.shapley(d.tolist(), m, neighbours) for d, m in zip(distance, matches, strict=True)
    ]
    found = neighbour_shapley(distance, matches, neighbours)
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("neighbours", [1, 5, 40])
def test_values_add_up_to_the_value_of_all_samples(neighbours: int) -> None:
    distance, matches = _game(30, 3)
    values = neighbour_shapley(distance, matches, neighbours)
    nearest = distance.argsort(1)[:, :neighbours]
    wanted = matches.gather(1, nearest).sum(1) / neighbours
    assert torch.allclose(values.sum(1), wanted.double(), atol=1e-12)


def test_the_sample_that_comes_first_is_the_nearer_of_two_equal_ones() -> None:
    values = neighbour_shapley(torch.zeros(1, 2), torch.tensor([[True, False]]), neighbours=1)
    assert values.tolist() == [[1.0, 0.0]]
    values = neighbour_shapley(torch.zeros(1, 2), torch.tensor([[False, True]]), neighbours=1)
    assert values.tolist() == [[-0.5, 0.5]]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = PROBLEMS["mlp"]()
    attributor = KNNShapley(problem.task(), 3).cache([problem.train])
    wanted = attributor.attribute([problem.train], [problem.test])
    own = attributor.self_influence([problem.train])
    monkeypatch.setattr(memory, "CACHED", {"cpu": 20})
    found = attributor.attribute([problem.train], [problem.test])
    assert torch.equal(found, wanted)
    assert torch.equal(attributor.self_influence([problem.train]), own)


def test_scores_are_minus_the_values_for_the_loss_and_plus_for_the_margin() -> None:
    problem = PROBLEMS["mlp"]()
    train, test = [problem.train], split(problem.test, 2)
    scores = {
        name: KNNShapley(problem.task(target=target), 2).cache(train).attribute(train, test)
        for name, target in (("loss", None), ("margin", targets.margin), ("logit", targets.logit))
    }
    assert scores["loss"].shape == (problem.n, len(problem.test[0]))  # one row a training sample
    assert torch.equal(scores["margin"], -scores["loss"])
    assert torch.equal(scores["logit"], -scores["loss"])
    right = (problem.train[1][:, None] == problem.test[1]).double()
    assert float((right * scores["margin"]).sum()) > 0


def test_what_is_refused() -> None:
    problem = PROBLEMS["mlp"]()
    with pytest.raises(ValueError, match="neighbours must be > 0, got 0"):
        KNNShapley(problem.task(), 0)
    with pytest.raises(ValueError, match="layer='head' and inputs=True; drop one"):
        KNNShapley(problem.task(), 1, layer="head", inputs=True)
    sequence = PROBLEMS["sequence"]()
    with pytest.raises(ValueError, match=r"one int64 label .* sample, got one that ends in a"):
        KNNShapley(sequence.task(), 1, inputs=True).cache([sequence.train])
