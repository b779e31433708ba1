"""The wheel is the library and nothing else, and works where no clone is."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import headwater
from tests.test_examples import README, ROOT, python_blocks

pytestmark = pytest.mark.slow

PARTS = ("headwater", "stages", "pipelines", "pyproject.toml", "README.md", "LICENSE")
SCRIPT = """
import importlib.metadata, importlib.util, pathlib, sys
import headwater
assert pathlib.Path(headwater.__file__).is_relative_to(sys.prefix), headwater.__file__
assert importlib.metadata.version("headwater") == headwater.__version__
assert not importlib.util.find_spec("stages") and not importlib.util.find_spec("pipelines")
"""


def _run(*command: str | Path, folder: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _files() -> list[str]:
    """Return what git knows, or would know: no build product of this tree gets in."""
    listed = _run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PARTS)
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def _build(kind: str, clone: Path, folder: Path) -> Path:
    """Build a "wheel" or an "editable" one as pip does, with the setuptools of this environment."""
    hook = f"import sys; from setuptools.build_meta import build_{kind} as hook; hook(sys.argv[1])"
    _run(sys.executable, "-c", hook, folder, folder=clone)
    (built,) = folder.glob("*.whl")
    return built


def _install(wheel: Path, folder: Path) -> Path:
    """Make an environment that has this wheel and nothing else, and return its Python."""
    _run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    _run(*pip, "install", "--no-deps", "--no-index", wheel)
    return python


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in _files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("wheel", clone, tmp_path_factory.mktemp("wheel"))


def test_it_holds_every_file_of_the_library_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == {
        name for name in _files() if name.startswith("headwater/")
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_ships_no_command_that_only_a_clone_can_run(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.endswith("entry_points.txt")]


def test_its_version_and_that_of_the_citation_are_the_packages(wheel: Path) -> None:
    (metadata,) = (n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("METADATA"))
    fields = Parser().parsestr(zipfile.ZipFile(wheel).read(metadata).decode())
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert fields["Version"] == cited["version"] == headwater.__version__
    extras = set(fields.get_all("Provides-Extra", []))
    assert extras >= {"workflow", "text", "music", "dask", "ray"}


def test_the_readme_runs_where_only_the_wheel_is_installed(wheel: Path, tmp_path: Path) -> None:
    python = _install(wheel, tmp_path / "venv")
    # PyTorch and the others come from this environment. A path in a .pth file brings no other
    # .pth file with it, so that an editable install there stays unseen.
    (library,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (library / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = tmp_path / "readme.py"
    script.write_text(SCRIPT + "\n".join(source for _, source in python_blocks(README)))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _run(python, "-I", script, folder=elsewhere)


def test_an_editable_install_of_a_clone_finds_the_workflow(clone: Path, tmp_path: Path) -> None:
    python = _install(_build("editable", clone, tmp_path), tmp_path / "venv")
    script = "import stages, pipelines, headwater; print(stages.__file__)"
    assert _run(python, "-I", "-c", script, folder=tmp_path).startswith(str(clone))
