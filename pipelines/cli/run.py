"""``headwater run``: bring settings or stages up to date."""

from typing import Annotated

import typer

from pipelines.cli.errors import INTERRUPTED, NO, CliError, need_project
from pipelines.cli.options import Debug, Json, Targets, targets
from pipelines.cli.output import console, print_json

KINDS = ("threads", "dask", "ray", "agents")


def run(
    target: Targets = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Stages at the same time; by default one a core."),
    ] = None,
    on: Annotated[str, typer.Option(metavar="|".join(KINDS), help="Where they run.")] = "threads",
    address: Annotated[
        str | None, typer.Option(help="The Dask or Ray cluster; by default one of this machine.")
    ] = None,
    deadline: Annotated[
        int,
        typer.Option(min=0, metavar="SECONDS", help="Kill a stage after so long; 0 for never."),
    ] = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring settings or stages up to date, and show the tables of results.

    What is cached is not computed again; a run that was killed goes on where it was.
    """
    if on not in KINDS:
        raise CliError(f"--on must be one of {', '.join(KINDS)}, got {on!r}: correct it")
    need_project()
    from pipelines import benchmark, environment

    say = console(stderr=json).print
    options = {"on": on, "address": address, "deadline": deadline}
    try:
        outcome = benchmark.reproduce(
            targets(target or []), say, workers=workers or environment.workers(), **options
        )
    except KeyboardInterrupt:
        say(benchmark.STOPPED)
        raise typer.Exit(INTERRUPTED) from None
    if json:
        done = {how: sorted(n for n, h in outcome.ended.items() if h == how)
                for how in ("ran", "restored")}  # fmt: skip
        print_json({"stages": outcome.stages, **done, "failed": outcome.failed,
                    "not_run": outcome.not_run})  # fmt: skip
    elif not outcome.failed:  # else the tables are those of an earlier run
        benchmark.show_tables(outcome.settings)
    if outcome.failed:
        raise typer.Exit(NO)
