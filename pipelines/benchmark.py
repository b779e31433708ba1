"""Run the benchmark: ``python -m pipelines.benchmark [TARGET ...] [--workers N] [--on WHERE]``."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import environment, fresh, prefect_server, runners

INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended."""
STOPPED = "Interrupted. What was finished is kept: run it again to go on."


@dataclass(frozen=True)
class Outcome:
    """What became of the stages of a run.

    Attributes:
        stages: how many there are.
        settings: of which settings.
        message: that in words.
        ended: the stages that were brought up to date: ``ran`` or ``restored``.
        failed: the stages that failed, with the reason.
        not_run: the stages that were given up, each with the failed stages that it needs.
    """

    stages: int
    settings: list[str]
    message: str
    ended: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    not_run: dict[str, list[str]] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the targets up to date, in parallel, and show the tables of results.

    Returns:
        0 when everything is up to date, 1 when a stage failed or the graph is wrong, 130 when it
        was interrupted.
    """
    options = _parse(arguments)
    from pipelines import ledger  # takes a moment: only when the command line is right

    try:
        outcome = reproduce(**vars(options), say=_say)
    except (ledger.LedgerError, prefect_server.ServerError, runners.RunnerError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say(STOPPED)
        return INTERRUPTED
    if outcome.failed:  # the tables are those of an earlier run
        return 1
    show_tables(outcome.settings)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.benchmark",
        description="Run every stage that is out of date, independent ones in parallel, and show "
        "the tables of results.",
    )
    add = parser.add_argument
    what = "a stage, a group of stages, an out or a dvc.yaml, with all that it needs"
    add("targets", nargs="*", metavar="TARGET", help=f"{what} (default: what `dvc repro` makes)")
    parallel = "stages at the same time; they share the cores (default here: %(default)s)"
    add("--workers", type=_positive, default=environment.workers(), metavar="N", help=parallel)
    where = "where they run: %(choices)s (default: %(default)s)"
    add("--on", choices=runners.KINDS, default="threads", metavar="WHERE", help=where)
    add("--address", help="the Dask or Ray cluster (default: one of this machine)")
    limit = "kill a stage after so many seconds, if it has no deadline of its own"
    add("--deadline", type=_positive, default=0, metavar="SECONDS", help=limit)
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got {text!r}")
    return int(text)


def reproduce(
    targets: Sequence[str], say: Callable[[str], object] = lambda line: None, **options: Any
) -> Outcome:
    """Bring the targets, and all that they need, up to date.

    First it finds out what is to do, without Prefect, whose server takes seconds to start.

    Args:
        targets: stages, groups, outs or ``dvc.yaml`` files; none means ``./dvc.yaml``, as in DVC.
        say: called with each line on how it goes, beside the view on stderr.
        options: `workers`, `on`, `address` and `deadline` of `pipelines.flow.reproduce`.

    Raises:
        LedgerError: the graph is wrong, or another run is at work.
        ServerError: Prefect's server did not start.
        RunnerError: the stages cannot run there.
        KeyboardInterrupt: it was interrupted.
    """
    environment.quiet(Path.cwd())
    os.environ.setdefault("HEADWATER_PROGRESS_SECONDS", "1")  # the bars of the stages move
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from pipelines import ledger

    with ledger.Ledger(targets) as book:
        todo = book.todo()
        if not todo:
            say(done := f"All {len(book.stages)} stages are up to date.")
            return Outcome(len(book.stages), settings_of(book.stages), done, book.ended)
        say(f"{len(todo)} of {len(book.stages)} stages may have to run.")
        if options.get("on", "threads") == "threads":
            fresh.prepare()
        with prefect_server.server():
            from pipelines import flow  # Prefect reads its environment at import

            ledger.opened = book, todo
            try:
                state = flow.reproduce(targets=list(targets), **options, return_state=True)
            finally:
                ledger.opened = None
    if not (state.is_completed() or state.is_failed()):
        raise KeyboardInterrupt
    say(state.message or "")
    settings, message = settings_of(book.stages), state.message or ""
    return Outcome(len(book.stages), settings, message, book.ended, book.failed, book.not_run)


def settings_of(stages: Iterable[str]) -> list[str]:
    """Return the settings that stages are of, from A to Z.

    Example:
        >>> settings_of(["code", "settings/b/dvc.yaml:data", "settings/a/dvc.yaml:solve@x"])
        ['a', 'b']
    """
    parts = (Path(name.partition(":")[0]).parts for name in stages)
    return sorted({part[1] for part in parts if len(part) == 3 and part[0] == "settings"})


def show_tables(settings: Sequence[str]) -> None:
    """Print the tables of settings that have results."""
    from headwater.benchmark.leaderboard import show

    for name in settings:
        metrics = Path("results", name, "metrics.json")
        if metrics.exists():
            show(name, json.loads(metrics.read_text()))


def _say(text: str) -> None:
    from rich.console import Console

    Console(soft_wrap=True, highlight=False, markup=False).print(text)


if __name__ == "__main__":
    sys.exit(main())
