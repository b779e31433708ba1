"""The documentation builds as a site without a warning, is complete, and fetches nothing."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.attributors import method_names, module_of
from tests.architecture.imports import ROOT

PACKAGES = (
    "curvature",
    "solvers",
    "projections",
    "gradients",
    "metrics",
    "scores",
    "explorer",
    "recording",
)
OTHERS = (
    "attributors.attributor.Attributor",
    "attributors.method.Method",
    "recording.hugging_face.TrainerRecorder",
    "recording.lightning.LightningRecorder",
    "task.AttributionTask",
    "task.BoundModel",
    "trajectory.Step",
)
FETCHED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?\s(?:src|href)=[\"']?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: mkdocs.yml says that a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_of_docs_is_in_the_site(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    assert not [page for page in pages if not (site / page.with_suffix(".html")).is_file()]


def test_the_reference_has_every_public_name(site: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in site.glob("reference/*.html"))
    found = set(re.findall(r'id="(headwater\.[\w.]+)"', text))
    wanted = {f"headwater.{name}" for name in OTHERS}
    for path in (ROOT / "headwater" / "attributors").glob("*_attributor.py"):
        classes = [
            node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
        ]
        wanted |= {f"headwater.attributors.{path.stem}.{node.name}" for node in classes}
    wanted |= {f"{module_of(name)}.{name}" for name in method_names()}
    for package in PACKAGES:
        module = importlib.import_module(f"headwater.{package}")
        for name in module.__all__:
            full = f"{module.__name__}.{name}"
            # A function may have the name of its module, which hides it in the package.
            wanted.add(f"{full}.{name}" if full in sys.modules else full)
    tree = ast.parse((ROOT / "headwater" / "targets.py").read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    wanted |= {f"headwater.targets.{name}" for name in functions if not name.startswith("_")}
    assert not sorted(wanted - found)


def test_no_page_fetches_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert not [page.name for page in pages if FETCHED.search(page.read_text(encoding="utf-8"))]
    styles = [sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css")]
    assert not [sheet for sheet in styles if re.search(r"url\([\"']?(?:https?:)?//|@import", sheet)]


def test_a_remote_script_would_be_seen() -> None:
    assert FETCHED.search('<script defer src="https://example.org/x.js">')
    assert FETCHED.search("<link rel=stylesheet href=//example.org/x.css>")
    assert not FETCHED.search('<a href="https://example.org">')
