"""Progress of long work: a bar on a terminal, a log line now and then elsewhere.

``logging.getLogger("headwater").setLevel(logging.ERROR)`` silences both. A line reads
"{description}: {done} of {total}, {left:.0f} s left", or "{description}: {done}" without a total.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import ExitStack
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
QUIET_SECONDS = 2.0  # work that is done sooner shows nothing
LOG_SECONDS = 10.0  # between two lines, unless the environment says otherwise
VARIABLE = "HEADWATER_PROGRESS_SECONDS"  # between two lines; 0: a line per item


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how far they are, by default of their length, and the time left."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if not sys.stderr.isatty():
        yield from _lines(items, description, total)
    elif log.isEnabledFor(logging.WARNING):  # as it is unless somebody asked for less
        yield from _bar(items, description, total)
    else:
        yield from items


def _bar(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    from rich import progress as bars  # noqa: PLC0415 - only where a bar may be shown
    from rich.console import Console  # noqa: PLC0415

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(),
               bars.TimeElapsedColumn(), bars.TimeRemainingColumn())  # fmt: skip
    start = time.monotonic()
    with ExitStack() as stack:
        bar: bars.Progress | None = None
        for done, item in enumerate(items, 1):
            yield item
            if bar is None and time.monotonic() - start > QUIET_SECONDS:
                console = Console(stderr=True)  # stdout is for results
                bar = stack.enter_context(bars.Progress(*columns, console=console, transient=True))
                task = bar.add_task(description, total=total)
            if bar is not None:
                bar.update(task, completed=done)


def _lines(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    pause = _pause()
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= pause:
            last = now
            if total is None:
                log.info("%s: %d", description, done)
            else:
                left = (now - start) / done * (total - done)
                log.info("%s: %d of %d, %.0f s left", description, done, total, left)


def _pause() -> float:
    given = os.environ.get(VARIABLE, "")
    try:
        seconds = float(given or LOG_SECONDS)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ValueError(f"{VARIABLE} must be a number of seconds >= 0, got {given!r}")
    return seconds
