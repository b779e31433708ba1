"""What the documentation shows is what was committed."""

import importlib.util
import json
import re

from headwater.attributors import method_names
from headwater.benchmark.leaderboard import leaderboard
from tests.architecture.imports import ROOT

BOARDS = sorted(ROOT.glob("results/*/leaderboard.md"))


def test_the_pages_show_the_committed_results():
    spec = importlib.util.spec_from_file_location("pages", ROOT / "results" / "pages.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for page in tool.PAGES:
        assert tool.written(ROOT, page) == (ROOT / page).read_text(), f"{page}: run `make results`"


def test_the_leaderboards_are_those_of_the_committed_metrics():
    assert {board.parent.name for board in BOARDS} >= {"mnist-lr", "mnist-mlp"}
    for board in BOARDS:
        record = json.loads((board.parent / "metrics.json").read_text())
        assert board.read_text() == leaderboard(board.parent.name, record)


def test_the_table_of_methods_names_every_attributor():
    methods = (ROOT / "docs" / "methods.md").read_text()
    assert not [name for name in method_names() if f"`{name}" not in methods]


def test_links_in_the_documentation_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
