"""What makes each projection what it is, and the numbers that must never change."""

from __future__ import annotations

import math

import pytest
import torch

from headwater.projections import Gaussian, GraSS, Rademacher, RandomMask, SparseJL
from headwater.projections.sparse import add_columns

PLACES = torch.tensor([0, 1, 70_000, 2**33 + 5])


def test_the_entries_never_change() -> None:
    signs = Rademacher(34, seed=3, checkpoint=2).units(PLACES, 2**34).sign()
    assert ["".join("-+"[int(s > 0)] for s in row) for row in signs] == [
        "++--+-++-+---++-+-+++--+----++-+-+",
        "++++--+++-++--+++--+++++-++-----++",
        "--++++-+---+++++++++-+++--++-+---+",
        "+--+--+-++-------++---+-+++-++--++",
    ]
    normal = Gaussian(2, seed=3, checkpoint=2).units(PLACES, 2**34).flatten() * math.sqrt(2)
    wanted = [2.213413, -0.979729, -0.534849, -0.577985, 0.854106, -0.811845, -1.064529, -0.676154]
    assert normal.tolist() == pytest.approx(wanted, abs=1e-6)
    sparse = SparseJL(1000, seed=3, checkpoint=2, nonzeros=2).units(PLACES, 2**34)
    assert sparse.nonzero()[:, 1].tolist() == [110, 944, 203, 992, 278, 988, 138, 605]
    assert sparse[sparse != 0].sign().tolist() == [1, 1, 1, 1, 1, 1, -1, -1]
    kept = RandomMask(3, seed=3, checkpoint=2).coordinates(2**33)[0]
    assert kept.tolist() == [2097229894, 5100895534, 6127186966]


@pytest.mark.parametrize("kind", [Rademacher, Gaussian])
def test_the_entries_have_mean_0_and_variance_1_over_k(kind) -> None:
    matrix = kind(16, seed=3).units(torch.arange(5000), 5000)
    count = matrix.numel()
    assert abs(float(matrix.mean())) < 4 / math.sqrt(16 * count)
    assert float(matrix.square().mean()) == pytest.approx(1 / 16, rel=4 * math.sqrt(2 / count))


def test_rademacher_entries_are_signs_over_the_root_of_k() -> None:
    matrix = Rademacher(7).units(torch.arange(100), 100)
    assert torch.allclose(matrix.abs(), torch.full_like(matrix, 7**-0.5), rtol=1e-15)
    assert len(matrix.sign().unique()) == 2


def test_gaussian_entries_are_normal() -> None:
    drawn = Gaussian(100, seed=1).units(torch.arange(2000), 2000).flatten().sort().values * 10.0
    share = (torch.arange(len(drawn)) + 0.5) / len(drawn)
    distance = (torch.special.ndtr(drawn) - share).abs().max()  # Kolmogorov and Smirnov's
    assert float(distance) < 2.0 / math.sqrt(len(drawn))
    assert float(drawn.pow(4).mean()) == pytest.approx(3.0, abs=5 * math.sqrt(96 / len(drawn)))


def test_every_column_of_a_sparse_projection_has_norm_1() -> None:
    for nonzeros in (1, 3, 5):
        matrix = SparseJL(5, 3, nonzeros=nonzeros)(torch.eye(300, dtype=torch.float64))
        assert torch.allclose(matrix.norm(dim=1), torch.ones(300, dtype=torch.float64))
        assert bool((matrix.count_nonzero(1) == nonzeros).all())
        assert len(torch.unique(matrix.count_nonzero(0))) > 1 or nonzeros == 5


def test_sums_by_sorting_are_those_by_adding_one_after_the_other() -> None:
    """What a GPU does, as far as a CPU can say."""

    class OnGPU(torch.Tensor):
        is_cuda = True

    places, columns = torch.tensor([2, 0, 2, 2]), torch.arange(12.0).view(3, 4)
    for found in (torch.ones(3, 4), torch.ones(3, 4).as_subclass(OnGPU)):
        add_columns(found, places, columns)
        wanted = [[2, 1, 6, 1], [6, 1, 18, 1], [10, 1, 30, 1]]
        assert found.as_subclass(torch.Tensor).tolist() == wanted


@pytest.mark.parametrize(("k", "p"), [(10, 90), (7, 10), (60, 90), (90, 90)])
def test_a_mask_keeps_one_coordinate_of_every_part(k: int, p: int) -> None:
    x = torch.randn(3, p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = RandomMask(k, seed=2)
    kept, factors = mask.coordinates(p)
    edges = [part * p // k for part in range(k + 1)]
    sizes = torch.tensor(edges).diff()
    assert bool((kept >= torch.tensor(edges[:-1])).all() and (kept < torch.tensor(edges[1:])).all())
    assert torch.allclose(factors.square(), sizes.double())
    assert torch.allclose(mask(x), factors * x[:, kept])
    counts = torch.zeros(p)
    for seed in range(900):
        counts[RandomMask(k, seed).coordinates(p)[0]] += 1
    share = 1 / sizes.repeat_interleave(sizes)
    deviation = (share * (1 - share) / 900).sqrt()
    assert bool(((counts / 900 - share).abs() <= 4.5 * deviation).all())


def test_short_vectors_are_not_masked() -> None:
    x = torch.randn(2, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(GraSS(5, seed=3, blowup=4)(x), SparseJL(5, seed=3)(x))


def test_a_mask_longer_than_the_vectors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs vectors at least as long, got 4; use a smaller"):
        RandomMask(5)(torch.ones(1, 4))
