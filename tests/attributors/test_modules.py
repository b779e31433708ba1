"""A method is found by its file, which no other file names."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from headwater import attributors
from headwater.attributors import Attributor, method_names, module_of

ROOT = Path(__file__).parents[2]


def test_names_lead_to_classes() -> None:
    assert "KNNShapley" in method_names()
    bases = "Method", "GradientAttributor", "TrajectoryAttributor"
    for name in (*bases, "FeatureAttributor", "DirectedAttributor", "PairwiseAttributor"):
        assert name not in method_names(), "it is not to be used as it is"
    assert module_of("LabelMatch") == "headwater.attributors.baselines"
    for name in method_names():
        kind = getattr(attributors, name)
        assert issubclass(kind, Attributor)
        assert kind.__module__ == module_of(name)
        assert name in dir(attributors)


def test_a_star_imports_all_methods() -> None:
    names: dict[str, object] = {}
    exec("from headwater.attributors import *", names)  # no other way to say it in a function
    assert {*method_names(), "Attributor"} <= names.keys()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of BM25, .*, got 'Trak': correct"):
        module_of("Trak")
    with pytest.raises(AttributeError, match="no attribute 'Trak'"):
        _ = attributors.Trak
    with pytest.raises(AttributeError, match="no attribute 'GradientAttributor'"):
        _ = attributors.GradientAttributor


def test_one_method_imports_no_other() -> None:
    code = (
        "import sys; from headwater.attributors import TracInCP, method_names; method_names(); "
        "sys.exit('headwater.attributors.trak' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_new_method_is_one_new_file(tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "toy_attributors"
    package.mkdir()
    source = (ROOT / "headwater/attributors/__init__.py").read_text()
    (package / "__init__.py").write_text(source)
    (package / "mine.py").write_text(
        "from headwater.attributors.grad_dot import GradDot\n"
        "from headwater.attributors.attributor import Attributor\n"
        "__all__ = ['Mine', 'helper']\n"
        "class _Base(Attributor):\n    pass\n"
        "class Mine(_Base):\n    pass\n"
        "class Hidden(_Base):\n    pass\n"
        "def helper():\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    toy = importlib.import_module("toy_attributors")
    assert toy.method_names() == ["Mine"]
    assert toy.module_of("Mine") == "toy_attributors.mine"
    assert toy.Mine.__name__ == "Mine"
