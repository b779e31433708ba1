"""The command line ``headwater``: one file per command, thin over the library and the workflow.

Nothing here imports PyTorch, DVC or Prefect before the command that needs them runs.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import compare, doctor, plan, query, report, run, status
from pipelines.cli.errors import EXIT_CODES, in_one_line

__all__ = ["app"]

app = typer.Typer(
    name="headwater",
    help="Find the training data that a prediction flows from.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run.run, status.status, plan.plan, report.report, query.query, compare.compare,
                doctor.doctor):  # fmt: skip
    app.command(epilog=EXIT_CODES)(in_one_line(command))


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"headwater {version('headwater')}")
        raise typer.Exit


@app.callback()
def project(
    folder: Annotated[
        Path,
        typer.Option(
            "-C",
            "--folder",
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="The project: where params.yaml and dvc.yaml are.",
        ),
    ] = Path(),
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Find the training data that a prediction flows from."""
    os.chdir(folder)
    # As `python -m` does: settings and methods of your own may lie beside params.yaml, and stages that
    # are started from here find the project's code.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
