"""Copy the committed results into the pages that show them (``make results``).

A page holds blocks between two marks; everything between them is made here.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headwater.benchmark.leaderboard import cheapest, seconds_of, summary

Records = dict[str, dict[str, Any]]
"""What `metrics.json` of each setting holds."""

START = "<!-- {}: made of results/*/metrics.json by `make results`; a test compares them -->\n"
END = "<!-- end of {} -->\n"
# What people have, and the recipes of params.yaml that suit it, the cheapest first.
DECISIONS = (
    ("a second: a first look, a check that all is connected", ("grad-dot",)),
    ("one trained classifier", ("gauss-newton-1", "gauss-newton-early", "relatif")),
    (
        "ten trainings of it, stopped early or to their ends",
        ("gauss-newton-early-10", "exact-trak-10", "gauss-newton-10", "kernel-early-10"),
    ),
    (
        "a few trainings, each at several epochs: the best, and no more training",
        ("gauss-newton-epochs", "exact-trak-epochs", "trak-epochs"),
    ),
    ("one model, any loss", ("fisher-1", "if-cg")),
    ("at most some ten thousand parameters", ("if-explicit",)),
    ("a large network: no n × n and no p × p matrix", ("ek-fac", "k-fac")),
    ("many queries later: gradients must be small on disk", ("logra", "trak-1", "trak-10")),
    ("the training run itself, step by step", ("dvemb", "unrolling-2")),
    ("no gradients at all", ("knn-shapley", "features")),
    ("chance, for comparison", ("random",)),
)


def records(root: Path) -> Records:
    """Return the results of every setting that has some."""
    files = sorted(root.glob("results/*/metrics.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in files}


def best_rows(found: Records) -> str:
    """Return the best methods of each setting, a row each."""
    head = ["setting", "LDS, best method", "of ceiling", "LDS, best with one model", "of ceiling"]
    rows = [_best(setting, summary(record)) for setting, record in found.items()]
    return _table([*head, "AUC, best"], rows)


def decisions(found: Records) -> str:
    """Return the decision table: LDS and seconds of the methods that suit what people have."""
    rows = []
    for have, methods in DECISIONS:
        for method in methods:
            cells = [_worth(record["methods"].get(method, {})) for record in found.values()]
            if set(cells) != {"-"}:
                rows.append([have if method == methods[0] else "", f"`{method}`", *cells])
    return _table(["you have", "method", *(f"`{setting}`" for setting in found)], rows)


def wrong_labels(found: Records) -> str:
    """Return the AUC of finding flipped labels, of the methods in the decision table."""
    rows = []
    for method in [method for _, methods in DECISIONS for method in methods] + ["loss-only"]:
        each = [record["methods"].get(method, {}).get("auc") for record in found.values()]
        if any(each):
            rows.append([f"`{method}`", *(_interval(auc) if auc else "-" for auc in each)])
    return _table(["method", *(f"`{setting}`" for setting in found)], rows)


def worth_their_cost(found: Records) -> str:
    """Return, for each setting, the methods that no cheaper one surpasses in LDS."""
    head = ["method", "models", "LDS", "of ceiling", "seconds", "memory (MB)"]
    parts = []
    for setting, record in found.items():
        rows = []
        for name in cheapest(record["methods"]):
            method = record["methods"][name]
            ceiling = record["noise_ceiling"][method["function"]]["value"]
            share = f"{max(method['lds']['value'], 0) / ceiling:.0%}"
            costs = [f"{seconds_of(method):g}", str(method["peak_memory_mb"])]
            models = str(method["checkpoints"])
            rows.append([f"`{name}`", models, _interval(method["lds"]), share, *costs])
        title = f"**[{setting}](../results/{setting}/leaderboard.md)**"
        parts.append(f"{title}\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


PAGES: dict[str, dict[str, Callable[[Records], str]]] = {
    "README.md": {"results": best_rows},
    "docs/which-method.md": {
        "decisions": decisions,
        "worth": worth_their_cost,
        "labels": wrong_labels,
    },
}
"""Which blocks a page holds, and what makes each."""


def with_results(page: str, name: str, content: str) -> str:
    """Return a page with some content between the two marks of a block.

    Raises:
        ValueError: if a mark is missing.
    """
    start, end = START.format(name), END.format(name)
    if start not in page or end not in page:
        raise ValueError(
            f"the page must hold the marks {start.strip()} and {end.strip()}: add them"
        )
    head, _, rest = page.partition(start)
    return f"{head}{start}\n{content}\n\n{end}{rest.partition(end)[2]}"


def written(root: Path, page: str) -> str:
    """Return a page as it must be."""
    found, text = records(root), (root / page).read_text()
    for name, make in PAGES[page].items():
        text = with_results(text, name, make(found))
    return text


def _best(setting: str, found: dict[str, Any]) -> list[str]:
    cells = [f"[{setting}](results/{setting}/leaderboard.md)"]
    for group in ("any", "one"):
        best = found["lds"][group]
        models = f", {best['models']} checkpoints" if best["models"] > 1 else ""
        cells.append(f"{_interval(best, '**{}**')} {best['method']}{models}")
        cells.append(f"{best['value'] / best['ceiling']:.0%} of {best['ceiling']:.3f}")
    auc = found.get("auc", {}).get("any")
    return [*cells, f"{_interval(auc, '**{}**')} {auc['method']}" if auc else "-"]


def _worth(method: dict[str, Any]) -> str:
    if "lds" not in method:
        return "left out" if "infeasible" in method else "-"
    seconds = seconds_of(method)
    return f"**{method['lds']['value']:.2f}** · {seconds:.{int(seconds < 1)}f} s"


def _interval(estimate: dict[str, float], mark: str = "{}") -> str:
    value = mark.format(f"{estimate['value']:.3f}")
    return f"{value} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def main() -> None:
    """Rewrite all pages."""
    root = Path(__file__).parents[1]
    for page in PAGES:
        (root / page).write_text(written(root, page))


if __name__ == "__main__":
    main()
