"""Write the leaderboard page: ``python -m pipelines.leaderboard [--out FILE]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines.leaderboard.page import leaderboard_page

OUT = Path("build/leaderboard.html")


def main() -> None:
    """Put the results of all settings into one HTML file, which needs no server and no network."""
    parser = argparse.ArgumentParser("python -m pipelines.leaderboard", description=main.__doc__)
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s"
    )
    out = parser.parse_args().out
    try:
        page = leaderboard_page(Path.cwd())
    except ValueError as error:
        sys.exit(str(error))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    sys.stdout.write(f"{out}: {len(page.encode()) / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
