"""``headwater compare``: two methods, or the results of two revisions or folders."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.errors import CliError, need_project
from pipelines.cli.options import Debug, Json, Method, complete_any, complete_setting
from pipelines.cli.output import console, estimate, print_json, table


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="FIRST", autocompletion=complete_any, show_default=False,
            help="A method of params.yaml; or a folder of results; or a git revision.",
        ),
    ],
    second: Annotated[
        str,
        typer.Argument(
            metavar="SECOND", autocompletion=complete_any, show_default=False,
            help="Another method; or another folder or revision (. is this project as it is).",
        ),
    ],
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--setting", "-s", metavar="SETTING", autocompletion=complete_setting,
            help="Of these settings; by default of all that both have.", show_default=False,
        ),
    ] = None,
    method: Method = None,
    top: Annotated[
        int, typer.Option("--top", "-k", min=1, help="Test samples where they disagree most.")
    ] = 5,
    json: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Compare metrics with their intervals, and how alike the scores of each test sample rank.

    Of two folders or revisions all methods' metrics are compared; with --method its scores, too.
    """
    need_project()
    from stages.check import load_params

    known = load_params(Path("params.yaml")).methods
    if first in known and second in known:
        if method is not None:
            raise CliError("--method must not be given with two methods: drop it")
        settings = _methods(first, second, setting, top)
    elif first in known or second in known:
        other = second if first in known else first
        raise CliError(
            f"both must be methods, or neither, got {other!r} which is none of {', '.join(known)}: "
            "correct the name"
        )
    else:
        settings = _sides(first, second, setting, method, top)
    if json:
        print_json({"first": first, "second": second, "settings": settings})
    else:
        for name, found in settings.items():
            _show(name, found, first, second)


def _methods(first: str, second: str, names: list[str] | None, top: int) -> dict[str, Any]:
    from pipelines.comparison.metrics import of_methods
    from pipelines.comparison.sides import Folder

    here = Folder(Path())
    chosen = names or [
        name
        for name in here.settings()
        if all("lds" in here.metrics(name)["methods"].get(method, {}) for method in (first, second))
    ]
    if not chosen:
        raise CliError(
            f"no setting has results of both {first} and {second}: make one with headwater run"
        )
    return {
        name: {
            "metrics": of_methods(here.metrics(name), first, second),
            "scores": _agreement(here.scores(name, first), here.scores(name, second), top),
        }
        for name in chosen
    }


def _sides(
    first: str, second: str, names: list[str] | None, method: str | None, top: int
) -> dict[str, Any]:
    from pipelines.comparison.metrics import of_records
    from pipelines.comparison.sides import side

    one, other = side(first), side(second)
    chosen = names or [name for name in one.settings() if name in other.settings()]
    if not chosen:
        raise CliError(
            f"{first} and {second} must have results of one setting at least, got "
            f"{', '.join(one.settings())} and {', '.join(other.settings())}"
        )
    return {
        name: {
            "metrics": of_records(one.metrics(name), other.metrics(name)),
            "scores": _agreement(one.scores(name, method), other.scores(name, method), top)
            if method
            else None,
        }
        for name in chosen
    }


def _agreement(one: Any, other: Any, top: int) -> dict[str, Any]:
    from pipelines.comparison.scores import agreement

    return agreement(one, other, top)


def _show(name: str, found: dict[str, Any], first: str, second: str) -> None:
    methods = any("method" in row for row in found["metrics"])
    head = ["method", "metric"] if methods else ["metric"]
    rows = [
        [
            *([row["method"]] if methods else []),
            row["title"],
            *(_value(row[side]) for side in ("first", "second")),
            "" if row.get("difference") is None else f"{row['difference']:+.3f}",
            "*" if row.get("apart") else "",
        ]
        for row in found["metrics"]
    ]
    table(name, [*head, first, second, "difference", ""], rows, left=len(head))
    say = console().print
    if any(row.get("apart") for row in found["metrics"]):
        say("* the intervals do not overlap")
    if scores := found["scores"]:
        say(f"rank correlation of the scores, mean over test samples: "
            f"{estimate(scores['rank_correlation'])}\n")  # fmt: skip
        rows = [
            [str(d["test"]), f"{d['rank_correlation']:.3f}",
             *(", ".join(map(str, d[side])) for side in ("first", "second"))]
            for d in scores["disagree"]
        ]  # fmt: skip
        table("where they disagree most",
              ["test sample", "rank correlation", f"proponents: {first}", f"proponents: {second}"],
              rows, left=0)  # fmt: skip


def _value(found: Any) -> str:
    if found is None:
        return "-"
    return estimate(found) if isinstance(found, dict) else f"{found:g}"
