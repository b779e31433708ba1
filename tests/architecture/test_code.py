"""What stage code finds is what Python imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages.code import fingerprint
from tests.architecture.imports import ROOT, closure

SOURCES = [Path("headwater"), Path("stages")]


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    "name", ["data", "train", "gradients", "solve", "score", "evaluate", "report", "explore"]
)
def test_the_closure_is_that_of_another_reader_of_imports(name):
    found = {path for path in fingerprint([f"stages.{name}"], SOURCES) if path.endswith(".py")}
    # Ours also knows what names of `headwater.attributors` are loaded on first use.
    assert closure(f"stages.{name}") <= found
    extra = {Path(path).parts[:2] for path in found - closure(f"stages.{name}")}
    assert extra <= {("headwater", "attributors")}


def test_all_that_a_stage_has_imported_is_in_its_closure():
    """Import every stage for real, and compare with what was said of it."""
    script = (
        "import sys, json; import stages.{0}, stages.__main__\n"
        "files = [getattr(m, '__file__', None) for m in list(sys.modules.values())]\n"
        "print(json.dumps([file for file in files if file]))"
    )
    for name in ("data", "train", "truth", "evaluate", "report", "explore"):
        done = subprocess.run(
            [sys.executable, "-c", script.format(name)], capture_output=True, text=True, check=True
        )
        loaded = {Path(f) for f in json.loads(done.stdout)}
        own = {
            str(f.relative_to(ROOT))
            for f in loaded
            if f.is_relative_to(ROOT) and "site-packages" not in f.parts
        }
        found = set(fingerprint([f"stages.{name}", "stages.__main__", "stages.contract"], SOURCES))
        assert own <= found, name


def test_training_does_not_depend_on_attribution():
    for name in ("train", "retrain", "truth"):
        found = fingerprint([f"stages.{name}"], SOURCES)
        packages = {Path(file).parts[1] for file in found if file.startswith("headwater/")}
        assert not packages & {"attributors", "solvers", "curvature", "gradients", "task.py"}, name
    found = fingerprint(["stages.gradients"], SOURCES)
    packages = {Path(file).parts[1] for file in found if file.startswith("headwater/")}
    assert not packages & {"attributors", "solvers", "curvature", "metrics"}


def test_an_import_within_a_function_counts_and_one_for_type_checkers_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mine = Path("mine")
    mine.mkdir()
    (mine / "__init__.py").write_text("")
    (mine / "a.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from mine import c\n"
        "def f():\n    from . import b\n    import yaml\n"
    )
    for name in "bc":
        (mine / f"{name}.py").write_text("")
    assert set(fingerprint(["mine.a"], [mine])) == {"mine/__init__.py", "mine/a.py", "mine/b.py"}
    with pytest.raises(ValueError, match="add mine to the deps"):
        fingerprint(["mine.a"], [Path("other")])
