"""``headwater status``: what is out of date, why, and how long it takes."""

from typing import Annotated

import typer

from pipelines.cli.errors import NO, need_project
from pipelines.cli.options import Debug, Json, Targets, targets
from pipelines.cli.output import console, print_json


def status(
    target: Targets = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Name the stages that only follow others, too.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is out of date, why, and how long it takes; exit with 1 if anything is."""
    need_project()
    from pipelines import status as workflow

    stages = workflow.look(targets(target or []))
    stale = workflow.out_of_date(stages)
    if json:
        named = {name: {"why": s.why, "follows": s.follows} for name, s in stale.items()}
        seconds = round(workflow.seconds_left(stages), 1) if stale else 0.0
        print_json({"stages": len(stages), "out_of_date": named, "seconds": seconds})
    else:
        say = console().print
        for line in workflow.lines(stages, verbose=verbose):
            say(line)
    if stale:
        raise typer.Exit(NO)
