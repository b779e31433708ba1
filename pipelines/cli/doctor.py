"""``headwater doctor``: is everything here that the workflow needs."""

from dataclasses import asdict

import typer

from pipelines.cli.errors import NO, need_project
from pipelines.cli.options import Debug, Json
from pipelines.cli.output import console, print_json

_MARKS = {"ok": "ok     ", "warning": "warning", "failed": "failed "}


def doctor(json: Json = False, debug: Debug = False) -> None:
    """Check the environment, the data, the cache, the remote, the GPU and the disk.

    Exits with 1 if a check failed; a warning says what will be slow or left out.
    """
    need_project()
    from pipelines.doctor import examine

    say, found = console().print, []
    for check in examine():
        found.append(check)
        if not json:
            say(f"{_MARKS[check.state]}  {check.name}: {check.found}")
            if check.advice:
                say(f"         -> {check.advice}")
    if json:
        print_json([asdict(check) for check in found])
    if any(check.state == "failed" for check in found):
        raise typer.Exit(NO)
