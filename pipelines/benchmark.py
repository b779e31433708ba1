"""Run the benchmark: ``python -m pipelines.benchmark [TARGET ...] [--workers N] [--on WHERE]``."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines import environment, fresh, prefect_server, runners

_INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the targets up to date, in parallel, and show the tables of results.

    Returns:
        0 when everything is up to date, 1 when a stage failed or the graph is wrong, 130 when it
        was interrupted.
    """
    options = _parse(arguments)
    environment.quiet(Path.cwd())
    os.environ.setdefault("HEADWATER_PROGRESS_SECONDS", "1")  # the bars of the stages move
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from pipelines import ledger  # takes a moment: only when the command line is right

    try:
        good = _run(**vars(options))
    except (ledger.LedgerError, prefect_server.ServerError, runners.RunnerError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("Interrupted. What was finished is kept: run it again to go on.")
        return _INTERRUPTED
    if good:  # otherwise the tables are those of an earlier run
        _show_tables()
    return 0 if good else 1


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


def _run(targets: list[str], **options: object) -> bool:
    """Find out what is to do, without Prefect, whose server takes seconds to start, and do it."""
    from pipelines import ledger

    with ledger.Ledger(targets) as book:
        todo = book.todo()
        if not todo:
            _say(f"All {len(book.stages)} stages are up to date.")
            return True
        _say(f"{len(todo)} of {len(book.stages)} stages may have to run.")
        if options["on"] == "threads":
            fresh.prepare()
        with prefect_server.server():
            from pipelines import flow  # Prefect reads its environment at import

            ledger.opened = book, todo
            state = flow.reproduce(**options, return_state=True)
    if not (state.is_completed() or state.is_failed()):
        raise KeyboardInterrupt
    _say(state.message or "")
    return bool(state.is_completed())


def _show_tables() -> None:
    from headwater.benchmark.leaderboard import show

    for metrics in sorted(Path("results").glob("*/metrics.json")):
        show(metrics.parent.name, json.loads(metrics.read_text()))


def _say(text: str) -> None:
    from rich.console import Console

    Console(soft_wrap=True, highlight=False, markup=False).print(text)


if __name__ == "__main__":
    sys.exit(main())
