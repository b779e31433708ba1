import pytest
import torch
import torch.nn.functional as F
from torch import nn

from headwater.benchmark.models.resnet9 import ResidualBlock, ResNet9
from tests.benchmark.models.tiny_models import randomised
from tests.precision import assert_close


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_parameters_at_the_size_of_the_paper():
    with torch.device("meta"):
        assert count(ResNet9()) == 4_825_154
        assert count(ResNet9(width=16)) == 303_122


@pytest.mark.parametrize("width", [3, 16, 24])
@pytest.mark.parametrize("n_classes", [2, 10])
def test_the_width_scales_all_channels(width, n_classes):
    model = ResNet9(width, n_classes)
    expected = (3 * 9 + 2) * width + 8 * width * n_classes + n_classes
    for d_in, d_out in ((1, 2), (2, 4), (4, 8)):
        expected += (10 * d_in * d_out + 9 * d_out**2) * width**2 + 6 * d_out * width
    assert count(model) == expected
    shapes = []
    for part in (model.stem, *model.blocks):
        part.register_forward_hook(lambda *args: shapes.append(tuple(args[2].shape[1:])))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, n_classes)
    sizes = ((1, 32), (2, 32), (4, 16), (8, 8))
    assert shapes == [(factor * width, size, size) for factor, size in sizes]


@pytest.mark.parametrize("stride", [1, 2])
@torch.no_grad()
def test_a_block_is_its_formula(stride):
    block = randomised(ResidualBlock(3, 5, stride, dropout=0.1)).eval()
    state, x = dict(block.named_parameters()) | dict(block.named_buffers()), torch.randn(2, 3, 8, 8)
    x = x.double()

    def normed(y, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(y, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    main = F.conv2d(x, state["residual.0.weight"], stride=stride, padding=1)
    main = normed(main, "residual.1").relu()
    main = F.conv2d(main, state["residual.4.weight"], padding=1)
    main = normed(main, "residual.5").relu()
    short = normed(F.conv2d(x, state["shortcut.0.weight"], stride=stride), "shortcut.1")
    assert_close(block(x), (main + short).relu(), torch.float64)


def test_batch_norm_learns_statistics_in_train_mode_only():
    model, inputs = ResNet9(width=2).double(), torch.randn(4, 3, 8, 8).double() + 3
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    model.eval()(inputs)
    assert all(norm.running_mean.eq(0).all() for norm in norms)
    model.train()(inputs)
    assert len(norms) == 10
    assert all(norm.running_mean.ne(0).any() for norm in norms)
