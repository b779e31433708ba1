"""Stage summary: the best methods of a setting, beside the ceiling."""

from __future__ import annotations

from pathlib import Path

from headwater.benchmark.leaderboard import summary
from stages.files import load_json, save_json


def main(*, metrics: Path, out: Path) -> None:
    """Write which methods are the best by each metric, with one model and with any number."""
    save_json(out, summary(load_json(metrics)))
