"""Copy the best rows of all settings into README.md: ``python results/readme.py`` (``make results``)."""

import json
from pathlib import Path
from typing import Any

from headwater.benchmark.leaderboard import summary

START = "<!-- results: made of results/*/metrics.json by `make results`; a test compares them -->\n"
END = "<!-- end of results -->\n"
HEAD = (
    "| setting | LDS, best method | of ceiling | LDS, best with one model | of ceiling | AUC, best |\n"
    "|---|---|---|---|---|---|"
)


def summaries(root: Path) -> dict[str, Any]:
    """Return the best methods of every setting with results."""
    files = sorted(root.glob("results/*/metrics.json"))
    return {path.parent.name: summary(json.loads(path.read_text())) for path in files}


def with_results(readme: str, found: dict[str, Any]) -> str:
    """Return the README with the best rows of each setting between the two marks.

    Raises:
        ValueError: if a mark is missing.
    """
    if START not in readme or END not in readme:
        raise ValueError(f"the README must hold the marks {START.strip()} and {END.strip()}")
    head, _, rest = readme.partition(START)
    rows = "\n".join(_row(setting, best) for setting, best in sorted(found.items()))
    return f"{head}{START}\n{HEAD}\n{rows}\n\n{END}{rest.partition(END)[2]}"


def _row(setting: str, found: dict[str, Any]) -> str:
    cells = [f"[{setting}](results/{setting}/leaderboard.md)"]
    for group in ("any", "one"):
        best = found["lds"][group]
        models = f", {best['models']} checkpoints" if best["models"] > 1 else ""
        cells.append(f"{_interval(best)} {best['method']}{models}")
        cells.append(f"{best['value'] / best['ceiling']:.0%} of {best['ceiling']:.3f}")
    auc = found.get("auc", {}).get("any")
    cells.append(f"{_interval(auc)} {auc['method']}" if auc else "-")
    return "| " + " | ".join(cells) + " |"


def _interval(estimate: dict[str, float]) -> str:
    return f"**{estimate['value']:.3f}** [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def main() -> None:
    """Rewrite README.md."""
    root = Path(__file__).parents[1]
    readme = root / "README.md"
    readme.write_text(with_results(readme.read_text(), summaries(root)))


if __name__ == "__main__":
    main()
