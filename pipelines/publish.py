"""``python -m pipelines.publish SETTING``: copy what retrained models say to where git keeps it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from stages.committed import publish


def main() -> None:
    """Copy artifacts/truth/SETTING to truth/SETTING, and say what params.yaml needs to take it."""
    parser = argparse.ArgumentParser("python -m pipelines.publish", description=main.__doc__)
    parser.add_argument(
        "setting", help="a setting of params.yaml, whose stages truth and removal are made"
    )
    setting = parser.parse_args().setting
    try:
        digest = publish(Path("artifacts/truth") / setting, Path("truth") / setting)
    except ValueError as error:
        sys.exit(str(error))
    sys.stdout.write(f"settings.{setting}.truth.committed: {digest}\n")


if __name__ == "__main__":
    main()
