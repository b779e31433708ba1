"""Every error is one line that says what to do; what the exit codes mean."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

__all__ = ["EXIT_CODES", "INTERRUPTED", "NO", "WRONG", "CliError", "in_one_line", "need_project"]

NO, WRONG, INTERRUPTED = 1, 2, 130
EXIT_CODES = (
    "Exit codes: 0 done, or all is well; 1 the answer is no (out of date, a stage failed, a check of "
    "doctor failed); 2 it could not be done, one line says why and what to do; 130 interrupted."
)
_EXPECTED = (ValueError, OSError, ArithmeticError, MemoryError, TypeError, ImportError)


class CliError(Exception):
    """What was asked for cannot be done; one line that says what to do."""


def in_one_line(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose errors are one line on stderr and exit code 2; ``--debug`` shows all."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        try:
            command(**options)
        except (KeyboardInterrupt, typer.Abort):
            _say("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except typer.Exit:
            raise
        except Exception as error:
            if options.get("debug"):
                raise
            _say(_line(error))
            raise typer.Exit(WRONG) from None

    return wrapped


def need_project(*names: str) -> None:
    """Check that the current folder is a project, with some files.

    Raises:
        CliError: if it is not.
    """
    for name in names or ("params.yaml", "dvc.yaml"):
        if not Path(name).is_file():
            raise CliError(
                f"the current folder must be a project, with {name}, got {Path.cwd()}: change to it, "
                "or name it with headwater -C FOLDER"
            )


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, CliError) or type(error).__module__.startswith("pipelines."):
        return text
    if isinstance(error, _EXPECTED) and text:
        return text
    return f"{type(error).__name__}: {text or 'no message'} (run it again with --debug for more)"


def _say(line: str) -> None:
    sys.stderr.write(f"headwater: {line}\n")
