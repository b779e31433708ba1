"""A dropout ensemble: C · d sub-networks, each a function of one sample, with the modules' own p."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headwater import AttributionTask, targets
from headwater.attributors import TRAK, GradDot
from headwater.benchmark.models.dropout import StatelessDropout
from headwater.dropout_ensemble import FixedDropout, dropout_ensemble
from headwater.projections import Rademacher
from tests import reference
from tests.awkward_models import TinyMLP
from tests.problems import PROBLEMS, Problem, cross_entropy, perturbed, split


@pytest.fixture
def problem() -> Problem:
    return PROBLEMS["mlp"]()


class Masked(TinyMLP):
    """TinyMLP with one mask of its hidden units, written out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.body[0](x)) * self.mask
        return self.head(torch.tanh(self.neck(h)))


def _mask(task: AttributionTask, index: int) -> torch.Tensor:
    """The mask of the 7 hidden units at one checkpoint, from the module itself."""
    module = FixedDropout(0.5)
    module.key.copy_(task.bind(index).rest["body.2.key"])
    return module(torch.ones(1, 7, dtype=torch.float64))[0]


def _sub_networks(problem: Problem, task: AttributionTask, checkpoints, masks: int):
    for c, checkpoint in enumerate(checkpoints):
        for d in range(masks):
            model = Masked().double()
            model.load_state_dict(checkpoint)
            model.mask = _mask(task, c * masks + d)
            yield model.eval()


def test_every_checkpoint_is_a_sub_network_written_out(problem: Problem) -> None:
    checkpoints = [perturbed(problem.model, seed=c) for c in range(2)]
    task = dropout_ensemble(problem.task(checkpoints=checkpoints), masks=3, seed=4)
    assert len(task.checkpoints) == 6
    train, test = split(problem.train, 4), split(problem.test, 2)
    found = GradDot(task).cache(train).attribute(train, test).double()
    total = 0.0
    for i, model in enumerate(_sub_networks(problem, task, checkpoints, 3)):
        values = task.bind(i).values(problem.loss, problem.train)
        assert torch.allclose(values, reference.values(model, problem.loss, problem.train))
        g = reference.per_sample_gradients(model, problem.loss, problem.train)
        f = reference.per_sample_gradients(model, problem.loss, problem.test)
        total = total + reference.gradient_products(g, f) / 6
    assert torch.allclose(found, total, rtol=1e-5, atol=1e-6)


def test_trak_takes_every_sub_network_as_a_model(problem: Problem) -> None:
    checkpoints = [perturbed(problem.model, seed=c) for c in range(2)]
    task = dropout_ensemble(problem.task(checkpoints=checkpoints, target=targets.margin), 2)
    train, test = split(problem.train, 4), split(problem.test, 2)
    found = TRAK(task, Rademacher(4), damping=0.1).cache(train).attribute(train, test).double()
    products, errors = 0.0, 0.0
    for i, model in enumerate(_sub_networks(problem, task, checkpoints, 2)):
        g = reference.per_sample_gradients(model, targets.margin, problem.train)
        f = reference.per_sample_gradients(model, targets.margin, problem.test)
        matrix = reference.projection_matrix(Rademacher(4, checkpoint=i), g.shape[1])
        products = products + reference.trak(g, f, matrix, 0.1 * len(g)) / 4
        margins = reference.values(model, targets.margin, problem.train)
        errors = errors + reference.error_probabilities(margins) / 4
    assert torch.allclose(found, products * errors[:, None], rtol=1e-4, atol=1e-7)
    whole = TRAK(task, Rademacher(4), damping=0.1).cache([problem.train])
    again = whole.attribute([problem.train], [problem.test]).double()
    assert torch.allclose(again, found, rtol=1e-5, atol=1e-8), "the masks depend on the batches"


def test_the_module_keeps_its_own_p() -> None:
    for p in (0.1, 0.3, 0.8):
        model = nn.Sequential(nn.Linear(1, 20_000), nn.Dropout(p), nn.Linear(20_000, 1))
        task = dropout_ensemble(AttributionTask(model, lambda m, x: m(x)[:, 0]), masks=2)
        module = task.bind(1).module[1]
        found = module(torch.ones(1, 20_000))
        assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.02)
        kept = found[found != 0]
        assert torch.allclose(kept, torch.full_like(kept, 1.0 / (1.0 - p)))


def test_masks_modules_and_seeds_differ_and_are_drawn_again(problem: Problem) -> None:
    def keys(seed: int, masks: int = 3) -> list[int]:
        model = nn.Sequential(nn.Linear(5, 9), nn.Dropout(0.2), StatelessDropout(0.3), nn.Dropout())
        task = AttributionTask(model, lambda m, x: m(x).sum(1))
        bound = [dropout_ensemble(task, masks, seed).bind(i) for i in range(masks)]
        return [int(b.rest[f"{i}.key"]) for b in bound for i in (1, 2, 3)]

    assert len(set(keys(0) + keys(1))) == 18
    assert keys(0) == keys(0)
    assert keys(0, masks=2) == keys(0)[:6], "more masks change the first ones"


def test_channels_are_dropped_whole_and_all_positions_alike_for_every_sample() -> None:
    module = FixedDropout(0.5, channels=True)
    module.key.fill_(77)
    found = module(torch.ones(3, 40, 4, 4))
    assert torch.equal(found[0], found[2])
    sums = (found[0] != 0).flatten(1).sum(1)
    assert set(sums.tolist()) == {0, 16}
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout2d(0.4), nn.Flatten(), nn.Linear(16, 2))
    task = AttributionTask(model, lambda m, x: m(x).sum(1))
    assert dropout_ensemble(task, 1).bind(0).module[1].channels


def test_a_module_at_two_places_has_one_mask(tmp_path) -> None:
    drop = nn.Dropout(0.5)
    model = nn.Sequential(nn.Linear(6, 6), drop, nn.Linear(6, 6), drop, nn.Linear(6, 2))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    task = AttributionTask(
        model, lambda m, x: m(x).sum(1), checkpoints=[str(tmp_path / "model.safetensors")]
    )
    bound = dropout_ensemble(task, masks=2).bind(1)
    assert bound.module[1] is bound.module[3]
    x = torch.ones(2, 6)
    first, second = bound.module[1](x), bound.module[3](x)
    assert torch.equal(first, second)
    assert bound.values(task.loss, x).shape == (2,)


def test_the_task_is_left_alone_and_its_layers_are_kept(problem: Problem) -> None:
    task = problem.task(layers=["head"])
    before = copy.deepcopy(task.bind(0).values(task.loss, problem.train))
    ensemble = dropout_ensemble(task, masks=2)
    assert ensemble.layout == task.layout
    assert (ensemble.loss, ensemble.target) == (task.loss, task.target)
    assert torch.equal(task.bind(0).values(task.loss, problem.train), before)
    assert len(task.checkpoints) == 1
    assert isinstance(problem.model.body[2], nn.Dropout)


NOTHING = {
    "no dropout": nn.Sequential(nn.Linear(5, 3)),
    "p = 0": nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.0)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_a_model_without_dropout_is_refused(name: str) -> None:
    task = AttributionTask(NOTHING[name], cross_entropy)
    with pytest.raises(ValueError, match=r"must have Dropout modules with p > 0, got none; use an"):
        dropout_ensemble(task, masks=2)


@pytest.mark.parametrize("module", [nn.AlphaDropout(0.2), nn.Dropout(1.0)], ids=str)
def test_dropout_that_cannot_be_fixed_is_refused(module: nn.Module) -> None:
    task = AttributionTask(nn.Sequential(nn.Linear(5, 3), module), cross_entropy)
    with pytest.raises(ValueError, match=r"Dropout1d to 3d with p < 1, got .* in '1'; replace it"):
        dropout_ensemble(task, masks=2)


def test_masks_must_be_positive(problem: Problem) -> None:
    with pytest.raises(ValueError, match="masks must be > 0, got 0"):
        dropout_ensemble(problem.task(), masks=0)
