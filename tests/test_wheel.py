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


def _pip(*words: str | Path) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    _run(sys.executable, "-m", "pip", *words, *quiet)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in _files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    _pip("wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", built)
    (found,) = built.iterdir()
    return found


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
    _run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    _pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    # PyTorch and the others come from this environment. A path in a .pth file brings no other
    # .pth file with it, so that an editable install there stays unseen.
    (library,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (library / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = tmp_path / "readme.py"
    script.write_text(SCRIPT + "\n".join(source for _, source in python_blocks(README)))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _run(python, "-I", script, folder=elsewhere)
