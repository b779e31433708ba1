"""A task binds a model, its functions and its checkpoints, and leaves all of them alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import headwater
from headwater import AttributionTask
from headwater.checkpoints import load_checkpoint
from tests import reference
from tests.problems import PROBLEMS, cross_entropy, perturbed


@pytest.fixture
def problem():
    return PROBLEMS["mlp"]()


def test_the_public_api_is_lazy_and_complete() -> None:
    assert headwater.AttributionTask is AttributionTask
    assert headwater.__version__
    with pytest.raises(AttributeError, match="no attribute 'Attribution'"):
        _ = headwater.Attribution


@pytest.mark.parametrize("name", PROBLEMS)
def test_values_are_those_of_the_model_in_evaluation_mode(name: str) -> None:
    problem = PROBLEMS[name]()
    problem.model.train()
    task = problem.task()
    with torch.no_grad():
        found = task.bind().values(task.loss, problem.train)
    assert torch.allclose(found, reference.values(problem.model, task.loss, problem.train))
    assert problem.model.training, "the user's model was put into evaluation mode"


def test_the_target_defaults_to_the_loss(problem) -> None:
    assert problem.task(target=None).target is cross_entropy


def test_a_task_is_a_snapshot_of_the_model(problem) -> None:
    task = problem.task()
    before = task.bind().values(task.loss, problem.train)
    with torch.no_grad():
        for parameter in problem.model.parameters():
            parameter.add_(1.0)
    assert torch.equal(task.bind().values(task.loss, problem.train), before)


def test_binding_one_checkpoint_does_not_change_another(problem) -> None:
    task = problem.task(checkpoints=[perturbed(problem.model, seed) for seed in (1, 2)])
    first = task.bind(0)
    before = first.values(task.loss, problem.train)
    other = task.bind(1).values(task.loss, problem.train)
    assert torch.equal(first.values(task.loss, problem.train), before)
    assert not torch.allclose(before, other)


def test_buffers_follow_the_checkpoint() -> None:
    problem = PROBLEMS["mixed"]()
    state = copy.deepcopy(problem.model.state_dict())
    state["norm.running_var"] *= 9.0
    task = problem.task(checkpoints=[state])
    wanted = reference.values(reference.at(problem.model, state), task.loss, problem.train)
    assert torch.allclose(task.bind().values(task.loss, problem.train), wanted)


def test_the_dtype_is_the_widest_of_the_parameters() -> None:
    model = nn.Sequential(nn.Linear(3, 3, dtype=torch.bfloat16), nn.Linear(3, 2))
    assert AttributionTask(model, cross_entropy).bind().dtype == torch.float32
    assert AttributionTask(model, cross_entropy, layers="0").bind().dtype == torch.bfloat16


# Checkpoints -----------------------------------------------------------------------------------


def _kinds(model: nn.Module, folder: Path) -> dict[str, object]:
    state = perturbed(model, seed=5)
    torch.save(state, folder / "model.pt")
    save_file(state, folder / "model.safetensors")
    return {
        "state dict": state,
        "torch file": folder / "model.pt",
        "safetensors file": folder / "model.safetensors",
        "path as text": str(folder / "model.safetensors"),
        "callable": lambda: state,
    }


@pytest.mark.parametrize("alone", [False, True], ids=["in a list", "alone"])
def test_checkpoints_of_every_kind(problem, alone: bool, tmp_path: Path) -> None:
    kinds = _kinds(problem.model, tmp_path)
    wanted = problem.task(checkpoints=[kinds["state dict"]]).bind().parameters
    for kind, checkpoint in kinds.items():
        found = problem.task(checkpoints=checkpoint if alone else [checkpoint]).bind().parameters
        assert found.keys() == wanted.keys(), kind
        assert all(torch.equal(found[name], wanted[name]) for name in wanted), kind


def test_wrong_keys_are_refused(problem) -> None:
    state = problem.model.state_dict()
    state["neck.weigth"] = state.pop("neck.weight")
    task = problem.task(checkpoints=[state])
    with pytest.raises(
        ValueError, match=r"missing \['neck.weight'\], unexpected \['neck.weigth'\]"
    ):
        task.bind()


def test_wrong_shapes_are_refused(problem) -> None:
    state = problem.model.state_dict()
    state["head.bias"] = torch.zeros(4)
    with pytest.raises(ValueError, match=r"'head.bias' must have shape \(3,\), got \(4,\)"):
        load_checkpoint(state, problem.model)


def test_a_missing_file_is_refused(problem, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a file or a folder, found none"):
        load_checkpoint(tmp_path / "no.pt", problem.model)


def test_a_model_in_place_of_a_state_dict_is_refused(problem) -> None:
    with pytest.raises(TypeError, match=r"got list; pass model.state_dict"):
        load_checkpoint([1, 2], problem.model)  # type: ignore[arg-type]


def test_code_in_a_file_is_never_run(problem, tmp_path: Path) -> None:
    torch.save(problem.model, tmp_path / "whole_model.pt")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        load_checkpoint(tmp_path / "whole_model.pt", problem.model)


def test_no_checkpoint_is_refused(problem) -> None:
    with pytest.raises(ValueError, match="must name at least one"):
        problem.task(checkpoints=[])


# Refusals --------------------------------------------------------------------------------------


def test_unknown_layers_are_refused_with_the_known_ones(problem) -> None:
    with pytest.raises(ValueError, match=r"got 'haed'; the model has body.0, head, neck"):
        problem.task(layers=["neck", "haed"])


def test_a_model_with_nothing_to_train_is_refused(problem) -> None:
    problem.model.requires_grad_(False)
    with pytest.raises(ValueError, match="must have trainable parameters"):
        problem.task()


def test_a_bound_model_is_shown_in_one_line() -> None:
    task = AttributionTask(nn.Sequential(nn.Linear(99, 10), nn.Linear(10, 3)), cross_entropy)
    assert repr(task.bind()) == "BoundModel of Sequential: 1,033 selected parameters, on cpu"
    only_last = AttributionTask(
        nn.Sequential(nn.Linear(9, 10), nn.Linear(10, 3)), cross_entropy, layers="1"
    )
    assert "33 selected parameters" in repr(only_last.bind())


@pytest.mark.parametrize(
    "loss",
    [
        lambda model, batch: model(batch[0]).sum(),
        lambda model, batch: model(batch[0]),
        lambda model, batch: model(batch[0])[:, :1],
        lambda model, batch: [0.0] * len(batch[0]),
    ],
    ids=["scalar", "matrix", "column", "list"],
)
def test_a_function_that_is_not_one_value_a_sample_is_refused(problem, loss) -> None:
    task = problem.task(loss=loss)
    with pytest.raises(ValueError, match=r"one value per sample, shape \(9,\), got"):
        task.bind().values(loss, problem.train)


@pytest.mark.parametrize(
    ("loss", "batch", "note"),
    [
        (torch.nn.CrossEntropyLoss(), (torch.ones(2, 3), torch.zeros(2).long()), "CrossEntropyLoss"),
        (lambda model, batch: model(batch[1])[:, 0], (torch.ones(2, 3),), "tuple of float32 (2, 3),"),
        (lambda model, x: model(x)[:, 0], torch.ones(2, 3).double(), "float64 (2, 3), with a"),
    ],
    ids=["loss that takes no model", "batch without labels", "other dtype"],
)  # fmt: skip
def test_errors_of_a_loss_say_on_which_batch(loss, batch, note: str) -> None:
    model = AttributionTask(torch.nn.Linear(3, 1), loss).bind()
    with pytest.raises((TypeError, IndexError, RuntimeError)) as error:
        model.values(loss, batch)
    (found,) = error.value.__notes__
    assert note in found and "(model, batch)" in found


def test_the_memory_budget_is_settled_once(problem, monkeypatch) -> None:
    assert problem.task(memory_budget="1.5GB").memory_budget == 1_500_000_000
    with pytest.raises(
        ValueError, match="a budget must be a positive number of bytes, got '1 cow'"
    ):
        problem.task(memory_budget="1 cow")
    task = problem.task()
    found = task.memory_budget
    assert found > 0
    monkeypatch.setattr("headwater.memory.available_bytes", lambda device: 4)
    assert task.memory_budget == found
    assert problem.task().memory_budget == 1
