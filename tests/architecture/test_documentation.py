"""What the documentation shows is what was committed."""

import json
import re

from headwater.attributors import MODULES
from stages.readme import with_tables
from stages.report import leaderboard
from tests.architecture.imports import ROOT


def test_the_readme_shows_the_committed_leaderboard():
    readme = (ROOT / "README.md").read_text()
    board = (ROOT / "results" / "leaderboard.md").read_text()
    assert with_tables(readme, board) == readme, "run `make results`"


def test_the_leaderboard_is_that_of_the_committed_metrics():
    record = json.loads((ROOT / "results" / "metrics.json").read_text())
    assert (ROOT / "results" / "leaderboard.md").read_text() == leaderboard(record)


def test_the_readme_names_every_attributor():
    readme = (ROOT / "README.md").read_text()
    assert not [name for name in MODULES if name != "Attributor" and f"`{name}" not in readme]


def test_links_in_the_documentation_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
