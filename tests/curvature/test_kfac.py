"""K-FAC and EK-FAC against dense twins and closed forms."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from headwater import AttributionTask, targets
from headwater.curvature import EKFAC, KFAC, KroneckerOperator
from headwater.gradients.source import CapturedSource
from tests import reference
from tests import reference_curvature as twins
from tests.problems import PROBLEMS, Problem, randomised, select, split

CURVATURES = {
    "K-FAC": (KFAC, twins.kfac_block),
    "EK-FAC": (EKFAC, twins.ekfac_block),
}
CLASSIFIERS = ["logistic", "mlp", "mlp with frozen layer", "shared linear", "weight outside"]
AWKWARD = ["ridge", "sequence", "tied weights", "mlp with frozen weight", "mixed", "conv net"]


@pytest.fixture(params=CURVATURES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def _source(problem: Problem, size: int | list[int] = 4, **task) -> CapturedSource:
    batches = split(problem.train, size)
    return CapturedSource(problem.task(**task), 0, batches)


def _operator(problem: Problem, curvature: KFAC, size: int | list[int] = 4) -> KroneckerOperator:
    source = _source(problem, size)
    return curvature.operator(source, curvature.estimate(source))


def _close(found: Tensor, wanted: Tensor, tolerance: float = 1e-10) -> bool:
    return float((found - wanted).norm()) <= tolerance * float(wanted.norm())


@pytest.mark.parametrize("name", CLASSIFIERS + AWKWARD)
def test_products_are_those_of_the_dense_twin(name: str, kind: str) -> None:
    # Biases, sequences, shared, tied and frozen layers: each in its place, or on the diagonal.
    problem, (curvature, block) = PROBLEMS[name](), CURVATURES[kind]
    operator = _operator(problem, curvature(labels="empirical"))
    wanted = twins.kronecker(problem.model, problem.loss, problem.train, block)
    assert _close(operator.dense(), wanted), name
    v = torch.randn(3, operator.size, dtype=torch.float64)
    assert _close(operator.apply(v), v @ wanted)
    inverse = reference.damped_inverse(wanted, 0.01)
    assert _close(operator.inverse_apply(v, 0.01), v @ inverse), "no damped inverse"


@pytest.mark.parametrize("name", ["mlp", "shared linear", "sequence", "mixed"])
def test_reduced_positions_are_those_of_the_dense_twin(name: str, kind: str) -> None:
    problem, (curvature, block) = PROBLEMS[name](), CURVATURES[kind]
    operator = _operator(problem, curvature(labels="empirical", sharing="reduce"))
    reduced = partial(block, reduce=True)
    wanted = twins.kronecker(problem.model, problem.loss, problem.train, reduced)
    assert _close(operator.dense(), wanted), name
    expanded = _operator(problem, curvature(labels="empirical")).dense()
    assert _close(operator.dense(), expanded) == (name == "mlp"), "one position is one sample"


def test_reduced_positions_are_exact_where_they_are_averaged() -> None:
    # z = W mean_t a_t + b with residuals ±1: the same e at all positions.
    model = randomised(nn.Linear(4, 1).double(), seed=3)
    x = torch.randn(7, 3, 4, dtype=torch.float64)
    y = model(x).mean((1, 2)).detach() + torch.tensor([1.0, -1, 1, 1, -1, -1, 1]).double()
    loss = lambda model, batch: 0.5 * (model(batch[0]).mean((1, 2)) - batch[1]) ** 2  # noqa: E731
    problem = Problem(model, loss, (x, y), (x, y))
    wanted = reference.fisher(reference.per_sample_gradients(model, loss, (x, y)))
    for sharing, exact in (("reduce", True), ("expand", False)):
        found = _operator(problem, KFAC(labels="empirical", sharing=sharing)).dense()
        assert _close(found, wanted) == exact, sharing


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_sampled_labels_are_drawn_from_the_softmax_of_the_model(name: str, kind: str) -> None:
    problem, (curvature, block) = PROBLEMS[name](), CURVATURES[kind]
    drawn = twins.sampled_labels(problem.model, problem.train, draws=3, seed=7)
    wanted = twins.kronecker(problem.model, targets.cross_entropy, drawn, block)
    assert _close(_operator(problem, curvature(draws=3, seed=7)).dense(), wanted), name


def test_the_labels_have_the_probabilities_of_the_model() -> None:
    problem = PROBLEMS["logistic"]()
    _, labels = twins.sampled_labels(problem.model, problem.train, draws=4000)
    found = nn.functional.one_hot(labels.view(4000, problem.n)).double().mean(0)
    wanted = problem.model(problem.train[0]).detach().softmax(1)
    assert torch.allclose(found, wanted, atol=0.03)
    # Many draws: S of one layer is the mean of diag p - p pᵀ.
    source = _source(problem)
    estimated = KFAC(draws=400).estimate(source)
    spectrum = torch.linalg.eigvalsh(
        sum(torch.diag(p) - torch.outer(p, p) for p in wanted) / problem.n
    )
    inputs = torch.linalg.eigvalsh(problem.train[0].T @ problem.train[0] / problem.n)
    outer = torch.outer(spectrum.flip(0), inputs.flip(0))
    assert torch.allclose(estimated["kronecker.weight.eigenvalues"], outer, rtol=0.1, atol=1e-3)


def _layers(problem: Problem) -> dict[str, Tensor]:
    factors = twins.layer_factors(problem.model, problem.loss, problem.train)
    return {name: twins.layer_fisher(samples) for name, samples in factors.items()}


def _blocks(operator: KroneckerOperator) -> dict[str, Tensor]:
    found = {}
    for name, block in zip(operator.scheme.names, operator.blocks, strict=True):
        if block.outputs is None or block.inputs is None:
            continue
        q = torch.kron(block.outputs, block.inputs)
        found[name.removesuffix("weight").removesuffix(".")] = (
            q @ torch.diag(block.eigenvalues.flatten()) @ q.T
        )
    return found


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_one_sample_has_its_exact_fisher_matrix(name: str, kind: str) -> None:
    problem = PROBLEMS[name]()
    one = Problem(problem.model, problem.loss, select(problem.train, slice(0, 1)), problem.test)
    found = _blocks(_operator(one, CURVATURES[kind][0](labels="empirical")))
    for layer, wanted in _layers(one).items():
        assert _close(found[layer], wanted), f"layer {layer}"


def test_a_deep_linear_net_has_its_exact_gauss_newton_blocks(kind: str) -> None:
    # One output and residuals ±1: e = ±(the product of the later weights), the same for all samples.
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3, bias=False), nn.Linear(3, 1)).double()
    randomised(model, seed=3)
    x = torch.randn(7, 4, dtype=torch.float64)
    signs = torch.tensor([1.0, -1, 1, 1, -1, -1, 1], dtype=torch.float64)
    y = model(x)[:, 0].detach() + signs
    loss = lambda model, batch: 0.5 * (model(batch[0])[:, 0] - batch[1]) ** 2  # noqa: E731
    problem = Problem(model, loss, (x, y), (x, y))
    found = _operator(problem, CURVATURES[kind][0](labels="empirical")).dense()
    wanted = twins.gauss_newton(model, loss, (x, y))
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in model]
    keep = torch.block_diag(*(torch.ones(s, s, dtype=torch.float64) for s in sizes))
    # Weight and bias of a layer follow each other in the vector: a block is a layer.
    assert _close(found, wanted * keep)


@pytest.mark.parametrize("name", ["logistic", "mlp", "shared linear", "sequence"])
@pytest.mark.parametrize("labels", ["empirical", "sampled"])
def test_ek_fac_is_never_further_from_the_fisher_matrix(name: str, labels: str) -> None:
    problem, batch = PROBLEMS[name](), None
    if name == "sequence":  # one label a position: none are drawn
        labels = "empirical"
    if labels == "sampled":
        batch = twins.sampled_labels(problem.model, problem.train)
    exact = _layers(Problem(problem.model, problem.loss, batch or problem.train, problem.test))
    kfac, ekfac = (_blocks(_operator(problem, k(labels=labels))) for k in (KFAC, EKFAC))
    for layer, fisher in exact.items():
        near, far = (float((found[layer] - fisher).norm()) for found in (ekfac, kfac))
        assert near < far, f"layer {layer}: {near:.3g} from EK-FAC, {far:.3g} from K-FAC"


@pytest.mark.parametrize("labels", ["empirical", "sampled"])
@pytest.mark.parametrize("size", [1, 2, [2, 6, 1]], ids=str)
def test_the_batches_change_nothing(kind: str, labels: str, size) -> None:
    problem, curvature = PROBLEMS["shared linear"](), CURVATURES[kind][0](labels=labels, draws=2)
    whole = _operator(problem, curvature, 9).dense()
    assert _close(_operator(problem, curvature, size).dense(), whole)


def test_seeds_and_draws_change_the_labels() -> None:
    problem = PROBLEMS["mlp"]()
    found = [
        _operator(problem, EKFAC(draws=draws, seed=seed)).dense()
        for draws, seed in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert torch.equal(found[0], found[1])
    assert not any(torch.allclose(found[0], other) for other in found[2:])


@pytest.mark.parametrize("labels", ["empirical", "sampled"])
def test_the_fisher_matrix_is_that_of_the_loss_whatever_the_target(labels: str) -> None:
    problem, curvature = PROBLEMS["mlp"](), EKFAC(labels=labels)
    plain = curvature.estimate(_source(problem))
    other = curvature.estimate(_source(problem, target=targets.margin))
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert curvature.function(problem.task(target=targets.margin)) is problem.loss


def test_the_estimate_is_tensors_that_a_file_can_hold(kind: str) -> None:
    problem, curvature = PROBLEMS["mixed"](), CURVATURES[kind][0](labels="empirical")
    source = _source(problem)
    estimated = curvature.estimate(source)
    back = load(save(dict(estimated)))  # sorts the names
    found, wanted = (curvature.operator(source, tensors) for tensors in (back, estimated))
    assert found.scheme == wanted.scheme == next(source.train_blocks()).scheme
    assert torch.equal(found.dense(), wanted.dense())
    assert found.dtype == torch.float64
    assert found.trace() == pytest.approx(float(wanted.dense().trace()))


def test_eigenvalues_descend_and_none_is_negative() -> None:
    for block in _operator(PROBLEMS["mlp"](), KFAC()).blocks:
        assert bool((block.eigenvalues >= 0).all())
        assert bool((block.eigenvalues.diff(dim=0) <= 0).all())
        assert bool((block.eigenvalues.diff(dim=1) <= 0).all())
        eye = torch.eye(len(block.inputs), dtype=torch.float64)
        assert torch.allclose(block.inputs.T @ block.inputs, eye, atol=1e-12)


# Refusals --------------------------------------------------------------------------------------


def _squares(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return model(batch[0]).square().sum(1)


REFUSED = {
    "another loss": (lambda p: p.task(loss=_squares), lambda p: p.train, "instead of"),
    "one tensor": (
        lambda p: AttributionTask(p.model, lambda model, x: model(x).square().sum(1)),
        lambda p: p.train[0],
        "batch or model without them",
    ),
    "labels that are no classes": (
        lambda p: p.task(),
        lambda p: (p.train[0], p.train[1].double()),
        "labels must be int64",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sampled_labels_need_a_cross_entropy(case: str, kind: str) -> None:
    problem, (task, batch, words) = PROBLEMS["mlp"](), REFUSED[case]
    made = task(problem)
    with pytest.raises(ValueError, match=rf"labels='sampled' needs.*{words}.*labels='empirical'"):
        CURVATURES[kind][0]().check(made.bind(), made, batch(problem))
    CURVATURES[kind][0](labels="empirical").check(made.bind(), made, batch(problem))


def test_sampled_labels_are_refused_where_nobody_has_checked() -> None:
    problem = PROBLEMS["mlp"]()
    other = Problem(problem.model, _squares, problem.train, problem.test)
    with pytest.raises(ValueError, match="labels='sampled' needs"):
        KFAC().estimate(_source(other))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": "true"}, "labels must be one of sampled, empirical, got 'true'"),
        ({"sharing": "mean"}, "sharing must be one of expand, reduce, got 'mean'"),
        ({"draws": 0}, "draws must be >= 1, got 0"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_arguments_out_of_range_are_refused(kind: str, arguments, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CURVATURES[kind][0](**arguments)
