"""The layout of parameters in a vector: an order, slices, and both ways through it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headwater.parameters import ParameterLayout, select_parameters
from tests.problems import PROBLEMS


@pytest.fixture
def model() -> nn.Module:
    return PROBLEMS["mlp"]().model


def test_vectors_and_tensors_go_back_and_forth(model: nn.Module) -> None:
    parameters = dict(model.named_parameters())
    layout = ParameterLayout.of(parameters)
    vector = layout.flatten(parameters)
    assert vector.shape == (layout.size,) == (sum(p.numel() for p in model.parameters()),)
    assert torch.equal(vector, nn.utils.parameters_to_vector(model.parameters()))
    for name, tensor in layout.unflatten(vector).items():
        assert torch.equal(tensor, parameters[name]), name
        assert torch.equal(vector[layout.slices[name]], parameters[name].flatten()), name


def test_leading_dimensions_are_kept(model: nn.Module) -> None:
    layout = ParameterLayout.of(dict(model.named_parameters()))
    vectors = torch.randn(2, 3, layout.size)
    tensors = layout.unflatten(vectors)
    assert tensors["neck.weight"].shape == (2, 3, 4, 7)
    assert torch.equal(layout.flatten(tensors, batch_dims=2), vectors)


def test_scalars_and_empty_parameters_have_a_place() -> None:
    layout = ParameterLayout.of({"scale": torch.tensor(2.0), "none": torch.zeros(0, 3)})
    assert layout.size == 1
    assert layout.unflatten(torch.tensor([5.0]))["scale"].shape == ()


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ["body.0.weight", "body.0.bias", "neck.weight", "head.weight", "head.bias"]),
        ("head", ["head.weight", "head.bias"]),
        ("body", ["body.0.weight", "body.0.bias"]),
        (["h*", "neck"], ["neck.weight", "head.weight", "head.bias"]),
        ("*", ["body.0.weight", "body.0.bias", "neck.weight", "head.weight", "head.bias"]),
    ],
    ids=str,
)
def test_layers_select_parameters_in_the_models_order(model, layers, expected) -> None:
    assert select_parameters(model, layers) == expected


def test_a_name_is_not_a_prefix(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"got 'hea'; the model has body.0, head, neck"):
        select_parameters(model, ["hea"])


def test_frozen_parameters_are_left_out(model: nn.Module) -> None:
    model.head.weight.requires_grad_(False)
    assert select_parameters(model, "head") == ["head.bias"]
    model.neck.requires_grad_(False)
    with pytest.raises(ValueError, match=r"'neck'; the model has body.0, head"):
        select_parameters(model, "neck")


def test_parameters_of_the_model_itself_have_a_name_in_the_message() -> None:
    with pytest.raises(ValueError, match=r"\(the model itself\)"):
        select_parameters(nn.Linear(2, 2), "linear")
