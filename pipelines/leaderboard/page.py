"""The leaderboard page, made of the results of all settings."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import vl_convert

from headwater.benchmark.drawing import COLOURS
from headwater.benchmark.leaderboard import NOTE, REMOVAL_NOTE
from headwater.pages import Files, assemble
from pipelines.leaderboard import cards, charts
from pipelines.leaderboard.results import Results, settings_with_results

__all__ = ["contents", "leaderboard_page"]

ASSETS = Path(__file__).parent / "assets"
DARK_LIGHTNESS = 0.68


def leaderboard_page(root: Path) -> str:
    """Return one HTML file that shows the results of all settings.

    Args:
        root: the folder with results/, settings/ and docs/.

    Raises:
        ValueError: if there are no results, or dvc.lock does not say how they were made.
    """
    files = Files()
    files.add_record("record", contents(root))
    modules = {"vega": vl_convert.javascript_bundle()}  # type: ignore[call-arg]
    return assemble("Headwater leaderboard", [ASSETS], files, modules)


def contents(root: Path) -> dict[str, Any]:
    """Return all that the page shows."""
    rows = cards.documented((root / "docs" / "methods.md").read_text(encoding="utf-8"))
    settings: list[dict[str, Any]] = []
    kinds: dict[str, type] = {}
    for name in settings_with_results(root):
        results = Results.of(root, name)
        record = results.record()
        for found in record["methods"]:
            recipe = results.recipe(found["name"])
            parts = cards.parts_of(recipe, f"methods.{found['name']}")
            kinds |= {_key(kind): kind for kind in parts}
            found["recipe"] = cards.describe_recipe(recipe)
            found["parts"] = [_key(kind) for kind in parts]
        record["notes"] = _notes(results)
        record["charts"] = {
            "cost": charts.cost_chart(record["methods"], record["ceilings"]),
            "damping": charts.damping_chart(record["methods"], results.curves),
        }
        settings.append(record)
    return {
        "settings": settings,
        "families": [{"name": n, "light": c, "dark": _on_dark(c)} for n, c in COLOURS.items()],
        "classes": {key: cards.describe_class(kind, rows) for key, kind in kinds.items()},
    }


def _key(kind: type) -> str:
    return f"{kind.__module__}:{kind.__name__}"


def _notes(results: Results) -> list[str]:
    """Return what the columns mean, as the tables of results/ say it."""
    notes = [NOTE.format(percent=round(100 * results.metrics["confidence"]))]
    if "removal" in results.metrics:
        notes.append(REMOVAL_NOTE.format(queries=len(results.metrics["removal"]["queries"])))
    return [" ".join(note.split()) for note in notes]


def _on_dark(colour: str) -> str:
    """Return a colour as light as a dark page needs, of the same hue."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(*channels)
    lighter = colorsys.hls_to_rgb(hue, max(lightness, DARK_LIGHTNESS), saturation)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in lighter)
