"""``headwater report``: the tables of results."""

from pathlib import Path

from pipelines.cli.errors import need_project
from pipelines.cli.options import Debug, Json, Settings
from pipelines.cli.output import console, print_json
from pipelines.results import RESULTS, metrics_of, reported

PAGES = ("*.html", "leaderboard.md", "figures")


def report(setting: Settings = None, json: Json = False, debug: Debug = False) -> None:
    """Show the methods of settings with their metrics, and where the pages are.

    By default of all settings that were made. `headwater run SETTING` makes them.
    """
    need_project()
    found = {name: metrics_of(name) for name in setting or reported()}
    if json:
        print_json(found)
        return
    from headwater.benchmark.leaderboard import show

    say = console().print
    for name, record in found.items():
        show(name, record)
        folder = Path(RESULTS, name)
        pages = [str(page) for pattern in PAGES for page in sorted(folder.glob(pattern))]
        say(f"{', '.join(pages)}\n")
