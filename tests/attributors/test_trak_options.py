"""TRAK's options: blocks of the Gram matrix, sparse scores, and a learned projection."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headwater import targets
from headwater.attributors import TRAK, ExactTRAK, InfluenceFunction
from headwater.attributors.scoring import solve_into
from headwater.attributors.trak import soft_threshold
from headwater.curvature import EmpiricalFisher, MarginGaussNewton, MarginKernel
from headwater.gradients.source import CapturedSource
from headwater.projections import Kronecker, Rademacher
from headwater.solvers import ArnoldiProjection, Explicit, Woodbury
from tests import reference
from tests.groups import train_gradients
from tests.problems import PROBLEMS, Logistic, Problem, Ridge, perturbed, split


@pytest.fixture
def problem() -> Problem:
    return PROBLEMS["mlp"]()


def _trak(problem: Problem, projection, **parts) -> TRAK:
    return TRAK(problem.task(target=targets.margin), projection, **parts)


def _source(attributor: TRAK, problem: Problem) -> CapturedSource:
    return CapturedSource(
        attributor.task, 0, [problem.train], attributor.train_function, attributor.represent
    )


PARTS = {
    "one": (Rademacher(4), 1),
    "two blocks": (Rademacher(4), 2),
    "layers": (Kronecker(2, 2), "layers"),
    "Arnoldi": (ArnoldiProjection(3, krylov=10), 1),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_state_does_not_depend_on_the_damping(problem: Problem, name: str) -> None:
    projection, blocks = PARTS[name]
    states = []
    for damping in (0.0, 7.0):
        attributor = _trak(problem, projection, damping=damping, blocks=blocks)
        states.append(attributor.prepare(_source(attributor, problem)))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


# One formula, one unit ------------------------------------------------------------------------


def test_the_damping_is_added_to_the_mean_not_to_the_sum(problem: Problem) -> None:
    # The paper's (ΦᵀΦ + λI)^-1, in loops; λ there is n times that of the mean curvature.
    states = [perturbed(problem.model, seed) for seed in range(2)]
    task = problem.task(target=targets.margin, checkpoints=states)
    old, products, errors = 0.7, 0.0, 0.0
    for c, state in enumerate(states):
        model = reference.at(problem.model, state)
        train, test = (
            reference.per_sample_gradients(model, targets.margin, batch)
            for batch in (problem.train, problem.test)
        )
        matrix = reference.projection_matrix(Rademacher(5, checkpoint=c), train.shape[1])
        products += reference.trak(train, test, matrix, damping=old) / 2
        margins = reference.values(model, targets.margin, problem.train)
        errors += reference.error_probabilities(margins) / 2
    attributor = TRAK(task, Rademacher(5), damping=old / problem.n).cache([problem.train])
    found = attributor.attribute([problem.train], [problem.test]).double()
    assert torch.allclose(found, products * errors[:, None], rtol=1e-5, atol=1e-10)


def test_trak_is_the_influence_function_of_its_parts(problem: Problem) -> None:
    task, train, test = problem.task(target=targets.margin), [problem.train], [problem.test]
    for kernel, solver in ((MarginKernel(), Woodbury(0.1)), (MarginKernel(), Explicit(0.1))):
        other = InfluenceFunction(task, solver, kernel, Rademacher(6), weights="averaged")
        trak = TRAK(task, Rademacher(6), damping=0.1).cache(train)
        wanted = other.cache(train).attribute(train, test)
        assert torch.allclose(trak.attribute(train, test), wanted, rtol=1e-5, atol=1e-9)


def test_at_one_checkpoint_own_and_averaged_weights_are_the_same(problem: Problem) -> None:
    task, train, test = problem.task(target=targets.margin), [problem.train], [problem.test]
    found = [
        InfluenceFunction(task, Woodbury(0.1), MarginGaussNewton(), weights=weights).cache(train)
        for weights in ("own", "averaged")
    ]
    a, b = (attributor.attribute(train, test) for attributor in found)
    assert torch.allclose(a, b, rtol=1e-5, atol=1e-9)
    a, b = (attributor.self_influence(train) for attributor in found)
    assert torch.allclose(a, b, rtol=1e-5, atol=1e-9)


def test_weights_that_are_none_are_refused(problem: Problem) -> None:
    with pytest.raises(ValueError, match="averaged weights need a curvature along the margin"):
        InfluenceFunction(problem.task(), Explicit(1.0), EmpiricalFisher(), weights="averaged")
    with pytest.raises(ValueError, match="weights must be one of own, averaged, got 'mean'"):
        InfluenceFunction(problem.task(), Explicit(1.0), weights="mean")


# Ensembles ------------------------------------------------------------------------------------


def test_several_ensembles_in_turn_are_the_mean_of_each_alone(problem: Problem) -> None:
    states = [perturbed(problem.model, seed) for seed in range(4)]
    train, test = [problem.train], [problem.test]

    def exact_trak(checkpoints, **arguments) -> ExactTRAK:
        task = problem.task(target=targets.margin, checkpoints=checkpoints)
        return ExactTRAK(task, damping=0.1, **arguments).cache(train)

    parts = [exact_trak(states[0::2]), exact_trak(states[1::2])]
    both, mixed = exact_trak(states, ensembles=2), exact_trak(states)
    wanted = torch.stack([part.attribute(train, test) for part in parts]).mean(0)
    assert torch.allclose(both.attribute(train, test), wanted, rtol=1e-5, atol=1e-9)
    assert not torch.allclose(mixed.attribute(train, test), wanted, rtol=1e-3, atol=1e-6)
    alone = torch.stack([part.self_influence(train) for part in parts]).mean(0)
    assert torch.allclose(both.self_influence(train), alone, rtol=1e-5, atol=1e-9)


def test_ensembles_without_averaged_weights_are_refused(problem: Problem) -> None:
    task = problem.task(target=targets.margin)
    with pytest.raises(
        ValueError, match="ensembles must be between 1 and 1 with weights='own', got 2"
    ):
        InfluenceFunction(task, Woodbury(1.0), MarginGaussNewton(), ensembles=2)
    with pytest.raises(ValueError, match="between 1 and 1 with weights='averaged', got 0"):
        ExactTRAK(task, damping=1.0, ensembles=0)


# Blocks ---------------------------------------------------------------------------------------


def test_one_block_and_the_sizes_written_out_are_the_same(problem: Problem) -> None:
    train, test = [problem.train], [problem.test]
    by_number = _trak(problem, Rademacher(7), damping=0.1, blocks=3)
    by_size = _trak(problem, Rademacher(7), damping=0.1, blocks=(3, 2, 2))
    by_layer = _trak(problem, Kronecker(2, 2), damping=0.1, blocks="layers")
    layers_by_size = _trak(problem, Kronecker(2, 2), damping=0.1, blocks=(4, 4, 4))
    for a, b in ((by_number, by_size), (by_layer, layers_by_size)):
        wanted = a.cache(train).attribute(train, test)
        assert torch.equal(b.cache(train).attribute(train, test), wanted)


def test_gradients_that_were_projected_as_a_whole_are_one_layer(problem: Problem) -> None:
    train, test = [problem.train], [problem.test]
    one, layers = (
        _trak(problem, Rademacher(5), damping=0.1, blocks=blocks).cache(train)
        for blocks in (1, "layers")
    )
    assert torch.equal(one.attribute(train, test), layers.attribute(train, test))


def test_blocks_allow_more_dimensions_than_samples(problem: Problem) -> None:
    train = [problem.train]
    whole = _trak(problem, Rademacher(24)).cache(train)
    with pytest.raises(ValueError, match=r"got a singular matrix of size 24"):
        whole.self_influence(train)
    cut = _trak(problem, Rademacher(24), blocks=6).cache(train)
    assert bool((cut.self_influence(train) > 0).all())


@pytest.mark.parametrize("blocks", [5, (2, 1), (4, 1)])
def test_blocks_must_cut_the_dimensions(problem: Problem, blocks) -> None:
    with pytest.raises(ValueError, match="blocks must cut 4 dimensions into parts"):
        _trak(problem, Rademacher(4), blocks=blocks).cache([problem.train])


def test_blocks_that_mean_nothing_are_refused(problem: Problem) -> None:
    with pytest.raises(ValueError, match="must be a number, sizes or 'layers', got 'layer'"):
        _trak(problem, Rademacher(4), blocks="layer")
    for blocks in (0, (4, 0), -1):
        with pytest.raises(ValueError, match="blocks must be > 0"):
            _trak(problem, Rademacher(4), blocks=blocks)


# Soft threshold -------------------------------------------------------------------------------


def _slow_threshold(scores: np.ndarray, fraction: float) -> np.ndarray:
    found = np.zeros_like(scores)
    kept = int(np.ceil(fraction * len(scores)))
    for j in range(scores.shape[1]):
        ranked = sorted((abs(s) for s in scores[:, j]), reverse=True)
        least = ranked[kept] if kept < len(ranked) else 0.0
        for i, score in enumerate(scores[:, j]):
            if abs(score) > least:
                found[i, j] = score - least if score > 0 else score + least
    return found


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.99])
@pytest.mark.parametrize("shape", [(1, 3), (20, 1), (33, 600)])
def test_the_threshold_is_that_of_loops(shape: tuple[int, int], fraction: float) -> None:
    scores = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    wanted = _slow_threshold(scores, fraction)
    soft_threshold(scores, fraction)
    assert np.allclose(scores, wanted, atol=1e-7)
    assert bool(((scores != 0).sum(0) == np.ceil(fraction * shape[0])).all())


def test_trak_shrinks_its_scores_at_the_very_end(problem: Problem, tmp_path) -> None:
    train, test = split(problem.train, 4), split(problem.test, 2)
    plain = _trak(problem, Rademacher(4), damping=0.1).cache(train)
    wanted = plain.attribute(train, test).numpy()
    sparse = _trak(problem, Rademacher(4), damping=0.1, soft_threshold=0.4).cache(train)
    found = sparse.attribute(train, test).numpy()
    assert np.array_equal(found, _slow_threshold(wanted, 0.4))
    assert bool(((found != 0).sum(0) == 4).all())
    assert torch.equal(sparse.self_influence(train), plain.self_influence(train))
    out = np.lib.format.open_memmap(tmp_path / "scores.npy", "w+", np.float32, found.shape)
    sources = [source.with_tests(test) for source in sparse._sources]
    solve_into(sparse, out, sources, sparse._states)
    assert np.array_equal(out, found)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_lies_between_0_and_1(problem: Problem, fraction: float) -> None:
    with pytest.raises(ValueError, match="soft_threshold must lie between 0 and 1"):
        _trak(problem, Rademacher(4), soft_threshold=fraction)


# The Arnoldi projection -----------------------------------------------------------------------


def test_the_projection_whitens_the_hessian() -> None:
    ridge = Ridge(n=50)
    problem = ridge.problem()
    source = CapturedSource(problem.task(), 0, [problem.train])
    rows = ArnoldiProjection(3).fit(source)  # all directions: PᵀP = H^-1
    assert torch.allclose(rows.T @ rows, torch.linalg.inv(ridge.hessian()), rtol=1e-9)
    two = ArnoldiProjection(2, krylov=3).fit(source)
    assert torch.allclose(two @ ridge.hessian() @ two.T, torch.eye(2).double(), atol=1e-9)


def test_the_projection_is_kept_in_the_state_and_nothing_else_is_projected(
    problem: Problem,
) -> None:
    attributor = _trak(problem, ArnoldiProjection(3, krylov=10), damping=0.1)
    source = _source(attributor, problem)
    state = attributor.prepare(source)
    p = attributor.task.layout.size
    assert tuple(state["basis"].shape) == (3, p)
    assert tuple(state["features"].shape) == (problem.n, 3)
    assert train_gradients(source).dimension == p
    phi = train_gradients(source).dense() @ state["basis"].T
    assert torch.allclose(state["features"], phi, rtol=1e-10)
    assert torch.allclose(state["matrix.0000"], phi.T @ phi / problem.n, rtol=1e-10)


def test_fewer_directions_than_asked_for_are_named(caplog) -> None:
    logistic = Logistic(n=30, d=4).problem()  # the Hessian of two classes has rank 4 of 8
    source = CapturedSource(logistic.task(), 0, [logistic.train])
    assert len(ArnoldiProjection(6).fit(source)) == 4
    assert "4 positive directions in a Krylov space of 12, not the 6 asked for" in caplog.text


def test_a_hessian_without_positive_directions_is_refused() -> None:
    task = PROBLEMS["ridge"]().task(loss=lambda model, batch: -model(batch[0])[:, 0].square())
    source = CapturedSource(task, 0, [PROBLEMS["ridge"]().train])
    with pytest.raises(ValueError, match="must have a positive direction, found none"):
        ArnoldiProjection(2).fit(source)


def test_sizes_of_the_projection_are_checked() -> None:
    with pytest.raises(ValueError, match="dimension must be > 0, got 0"):
        ArnoldiProjection(0)
    with pytest.raises(ValueError, match="krylov must be at least the dimension 5, got 4"):
        ArnoldiProjection(5, krylov=4)
