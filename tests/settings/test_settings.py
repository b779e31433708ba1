import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headwater.settings import SETTINGS, get_setting
from headwater.settings.setting import Recipe

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_loads_and_its_loss_fits_its_data(name):
    setting = get_setting(name)
    assert setting.name == name
    samples = setting.load_data(ROOT / "data")
    assert samples.train_inputs.shape == (5000, 784)
    assert samples.test_labels.shape == (500,)
    assert samples.train_inputs.dtype == torch.float32
    assert samples.train_labels.dtype == torch.int64
    batch = (samples.test_inputs[:3], samples.test_labels[:3])
    assert setting.loss(setting.make_model(), batch).shape == (3,)
    for target in setting.targets.values():
        assert target(setting.make_model(), batch).shape == (3,)


@pytest.mark.parametrize("modules", SETTINGS.values())
def test_named_source_files_exist(modules):
    assert (ROOT / f"headwater/settings/{modules.module}.py").is_file()
    assert (ROOT / f"headwater/models/{modules.model}.py").is_file()
    assert (ROOT / f"headwater/datasets/{modules.dataset}.py").is_file()


def test_recipes_of_the_paper():
    assert get_setting("mnist-lr").recipe == Recipe(0.01, batch_size=32, epochs=20)
    assert get_setting("mnist-mlp").recipe == Recipe(0.01, batch_size=64, epochs=50, momentum=0.9)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"one of mnist-lr, mnist-mlp, got 'mnist'"):
        get_setting("mnist")


def test_names_are_listed_without_importing_a_setting():
    code = (
        "import sys, headwater.settings; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'headwater.settings.mnist_lr')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"epochs": 0},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
    ],
)
def test_impossible_recipes_are_refused(change):
    with pytest.raises(ValueError, match="a recipe needs"):
        dataclasses.replace(Recipe(0.1, batch_size=2, epochs=1), **change)


def test_training_can_stop_early():
    setting = get_setting("mnist-lr")
    assert setting.stopped_after(None) is setting
    assert setting.stopped_after(3).recipe == dataclasses.replace(setting.recipe, epochs=3)
    with pytest.raises(ValueError, match="ends after 20 epochs"):
        setting.stopped_after(21)
