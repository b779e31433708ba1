"""Run the benchmark: ``python -m pipelines.benchmark [TARGET ...] [--workers N]``."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipelines import environment, graph, prefect_server

_METRICS = Path("results/metrics.json")
_INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the targets up to date, in parallel, and show the table of results.

    Returns:
        0 when everything is up to date, 1 when a stage failed or the graph is wrong, 130 when it
        was interrupted.
    """
    options = _parse(arguments)
    environment.quiet(Path.cwd())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        good = _up_to_date(options.targets) or _run(options.targets, options.workers)
    except (graph.GraphError, prefect_server.ServerError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("Interrupted. What was finished is kept: run it again to go on.")
        return _INTERRUPTED
    if not good:  # the table is that of an earlier run
        return 1
    _show_table()
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.benchmark",
        description="Run every stage of dvc.yaml that is out of date, independent ones in "
        "parallel, and show the table of results.",
    )
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="a stage, a group of stages or an out, with all that it needs (default: everything)",
    )
    parser.add_argument(
        "--workers",
        type=_positive,
        default=min(environment.cores(), 8),
        metavar="N",
        help="stages at the same time; they share the cores (default here: %(default)s)",
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got {text!r}")
    return int(text)


def _up_to_date(targets: list[str]) -> bool:
    """Whether nothing is to do; found out without Prefect, whose server takes seconds to start."""
    stages = graph.load(targets)
    changed = sum(stage.changed for stage in stages.values())
    stale = sum(stage.stale for stage in stages.values())
    if stale:
        _say(f"{changed} of {len(stages)} stages changed; at most {stale} are to run.")
        return False
    _say(f"All {len(stages)} stages are up to date.")
    return True


def _run(targets: list[str], workers: int) -> bool:
    with prefect_server.server() as private:
        from pipelines import flow  # Prefect reads its environment at import

        if private:
            flow.free_slots()
        state = flow.reproduce(targets, workers, return_state=True)
    if not (state.is_completed() or state.is_failed()):
        raise KeyboardInterrupt
    _say(state.message or "")
    return bool(state.is_completed())


def _show_table() -> None:
    if _METRICS.exists():
        from stages.report import show  # only here: it imports what the stages import

        show(_METRICS)


def _say(text: str) -> None:
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


if __name__ == "__main__":
    sys.exit(main())
