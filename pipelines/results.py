"""The results of settings, as stage report left them in a folder ``results``."""

import json
from pathlib import Path
from typing import Any

__all__ = ["RESULTS", "best", "metrics_of", "reported"]

RESULTS = Path("results")


def reported(folder: Path = RESULTS) -> list[str]:
    """Return the settings that have results.

    Raises:
        FileNotFoundError: if none has.
    """
    found = sorted(path.parent.name for path in folder.glob("*/metrics.json"))
    if not found:
        raise FileNotFoundError(
            f"{folder} must hold SETTING/metrics.json, found none: make them with headwater run"
        )
    return found


def metrics_of(setting: str, folder: Path = RESULTS) -> dict[str, Any]:
    """Return what stage report says of a setting.

    Raises:
        FileNotFoundError: if it did not run.
    """
    path = folder / setting / "metrics.json"
    if not path.is_file():
        known = ", ".join(sorted(p.parent.name for p in folder.glob("*/metrics.json"))) or "none"
        raise FileNotFoundError(
            f"{path} must be there, and is not; settings with results: {known}. Make it with headwater "
            f"run {setting}"
        )
    return dict(json.loads(path.read_text()))


def best(record: dict[str, Any], checkpoints: int | None = None) -> str:
    """Return the method with the highest LDS, of those with so many checkpoints.

    Raises:
        ValueError: if there is none.
    """
    able = {
        name: found["lds"]["value"]
        for name, found in record["methods"].items()
        if "lds" in found and checkpoints in (None, found["checkpoints"])
    }
    if not able:
        raise ValueError("the results must have a method with an LDS, got none: name a method")
    return max(sorted(able), key=able.__getitem__)
