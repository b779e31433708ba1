import subprocess
import sys

import torch

from headwater.benchmark.models.logistic_regression import LogisticRegression
from headwater.benchmark.models.mlp import MLP


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_parameter_counts_and_shapes():
    assert count(LogisticRegression()) == 7_850
    assert count(MLP()) == 109_386
    for model in (LogisticRegression(), MLP()):
        assert model(torch.zeros(3, 784)).shape == (3, 10)


def test_the_package_imports_no_model():
    models = "headwater.benchmark.models"
    code = f"import sys, {models}; sys.exit('{models}.mlp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
