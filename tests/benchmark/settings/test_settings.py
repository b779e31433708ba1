import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from headwater.benchmark.datasets import maestro
from headwater.benchmark.recipes import Recipe
from headwater.benchmark.settings import get_setting, module_of_setting, setting_names

ROOT = Path(__file__).parents[3]


def _few_windows(*given, n, **more):
    return FEW(*given, n=4, **more)


FEW = maestro.load_windows
SHAPES = {
    "mnist-lr": (784,),
    "mnist-mlp": (784,),
    "cifar2-resnet9": (3, 32, 32),
    "cifar2-resnet9-small": (3, 16, 16),
    "cifar10-resnet9": (3, 32, 32),
    "cifar10-resnet9-small": (3, 16, 16),
    "maestro-music-transformer": (256,),
    "maestro-music-transformer-small": (64,),
    "shakespeare-nanogpt": (256,),
    "shakespeare-nanogpt-small": (64,),
}


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_loads_and_its_loss_fits_its_data(name, mirror, monkeypatch):
    if name == "maestro-music-transformer":  # the same reader, on fewer windows
        monkeypatch.setattr(maestro, "load_windows", _few_windows)
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    setting = get_setting(name)
    assert setting.name == name
    samples = setting.load_data(ROOT / "data")
    sizes = yaml.safe_load((ROOT / "params.yaml").read_text())["settings"][name]["data"]
    if name != "maestro-music-transformer":
        assert len(samples.train_inputs) >= sizes["n_train"]
        assert len(samples.test_labels) >= sizes["n_test"]
    assert samples.train_inputs.shape[1:] == SHAPES[name]
    assert samples.train_labels.dtype == torch.int64
    batch = (samples.test_inputs[:3], samples.test_labels[:3])
    assert setting.loss(setting.make_model(), batch).shape == (3,)
    for target in setting.targets.values():
        assert target(setting.make_model(), batch).shape == (3,)


@pytest.mark.parametrize("name", setting_names())
def test_named_source_files_exist(name):
    assert (ROOT / f"{module_of_setting(name).replace('.', '/')}.py").is_file()


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_digits.py").write_text(
        "import dataclasses\nfrom headwater.benchmark.settings import get_setting\n"
        "MINE = dataclasses.replace(get_setting('mnist-lr'), name='mine')\nNUMBER = 3\n"
    )
    (tmp_path / "my_broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_setting_of_ones_own_is_named_by_its_import_path(own_module):
    assert module_of_setting("my_digits:MINE") == "my_digits"
    assert get_setting("my_digits:MINE").name == "mine"
    assert get_setting("headwater.benchmark.settings.mnist_lr:SETTING") is get_setting("mnist-lr")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_digits:NUMBER", "must name a headwater.benchmark.settings.setting.Setting, got int"),
        ("my_digits:OTHER", r"got nothing: define OTHER = Setting\(...\) in my_digits"),
        ("no_such_module:X", "got none called 'no_such_module': install it"),
        ("headwater.no_such:X", "got none called 'headwater.no_such'"),
        ("my_digits:", "or an import path package.module:OBJECT, got 'my_digits:'"),
        ("mnist_lr", "one of cifar10-resnet9, cifar10-resnet9-small, "),
        ("setting", "one of cifar10-resnet9, cifar10-resnet9-small, "),
    ],
)
def test_what_is_no_setting_is_refused_in_one_line(name, message, own_module):
    with pytest.raises(ValueError, match=message) as refused:
        get_setting(name)
    assert "\n" not in str(refused.value)


def test_what_a_setting_lacks_is_not_blamed_on_its_name(own_module):
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        get_setting("my_broken:MINE")


def test_recipes_of_the_paper():
    assert get_setting("mnist-lr").recipe == Recipe(0.01, batch_size=32, epochs=20)
    mlp = get_setting("mnist-mlp").recipe
    assert (mlp.learning_rate, mlp.batch_size, mlp.epochs) == (0.01, 64, 50)
    optimizer = mlp.optimizer([torch.zeros(2)], lr=0.1)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"one of cifar10-resnet9, .*mnist-lr, .*, or .*, got 'mnist'"
    ):
        get_setting("mnist")


def test_names_are_listed_without_importing_a_setting():
    code = (
        "import sys, headwater.benchmark.settings; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'headwater.benchmark.settings.mnist_lr')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
