"""What a run shows on stderr: one live view on a terminal, plain lines elsewhere."""

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from pipelines.durations import PATH, Estimate, load, save

_PROGRESS = re.compile(r".*: (\d+) of (\d+), \d+ s left$")  # a line of headwater.progress.track
_NEWS = {"ran": "ran in", "failed": "failed after", "stopped": "stopped after"}


class Display(Progress):
    """A bar for the run and one for each running stage; at its end it saves how long stages took.

    Args:
        stages: What may run, by address, each with what it `needs` and if it runs `alone`.
        path: The file of durations.
        known: All addresses of the graph: durations of others are dropped.
        console: Where to write; default: stderr.
    """

    def __init__(
        self,
        stages: Mapping[str, Any],
        path: Path = PATH,
        known: Container[str] | None = None,
        console: Console | None = None,
    ) -> None:
        console = console or Console(stderr=True)
        note = TextColumn("{task.fields[note]}", markup=False)
        columns = TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn(), note
        plain = not console.is_terminal
        super().__init__(*columns, console=console, disable=plain, transient=True)
        self.live.refresh_per_second = 2
        self._stages, self._slots, self._save = stages, 1, partial(save, path, known=known)
        self._estimate = Estimate(stages, load(path))
        self._said = float("-inf"), 0.0
        self._waiting: list[str] = []  # replaced, never changed: the view reads it without the lock
        self._rows: dict[str, TaskID] = {}
        self._ended = Counter[str]()
        self._turn = Lock()  # what draws holds Progress's own lock, and must not wait for this one
        self._all = self.add_task("", total=None, note=self)

    def __str__(self) -> str:
        if not self._estimate.known:
            return "estimating…"
        if (now := self.get_time()) > self._said[0] + 1:  # with many stages it takes a moment
            running = {t.fields["name"]: t.elapsed or 0.0 for t in self.tasks if "name" in t.fields}
            self._said = now, self._estimate.left(self._waiting, running, self._slots)
        return f"about {minutes(self._said[1])} left"

    def stop(self) -> None:
        """End the view and save the durations; the end of a ``with`` block does it."""
        super().stop()
        self._save(self._estimate.actual)

    def plan(self, names: Sequence[str], parallel: int) -> None:
        """Say which stages may run, in order, and how many at the same time."""
        with self._turn:
            self._waiting, self._slots = list(names), parallel
            self._count()

    def begin(self, name: str) -> None:
        """Give a stage its bar."""
        with self._turn:
            self._leave(name)
            self._rows[name] = self.add_task(short(name), total=None, name=name, note="")

    def output(self, name: str, line: str) -> None:
        """Show a line of a stage; one that tells of progress moves its bar instead."""
        with self._turn:
            if not (found := _PROGRESS.match(line)):
                self._say(f"{short(name)} | {line}")
            elif name in self._rows:
                done, total = map(int, found.groups())
                self.update(self._rows[name], completed=done, total=total, note=line)

    def end(self, name: str, how: str, seconds: float, why: str = "") -> None:
        """Count a stage that ran, failed or was stopped and say it, or was restored or spared."""
        with self._turn:
            self._leave(name, failed=how == "failed")
            self._ended[how] += 1
            if how == "ran":
                self._estimate.actual = {**self._estimate.actual, name: seconds}
            count = self._count()
            if how in _NEWS:
                line = f"{short(name)} {_NEWS[how]} {seconds:.1f} s" + (f": {why}" if why else "")
                if self.disable:
                    elapsed = minutes(self.tasks[0].elapsed or 0.0)
                    line = f"[{count}] {line}, {elapsed} elapsed, {self}"
                self._say(line, "red" if how == "failed" else "")

    def _leave(self, name: str, failed: bool = False) -> None:
        gone = {name}  # and, if it failed, what needs it
        for other in self._waiting if failed else ():
            if not gone.isdisjoint(self._stages[other].needs):
                gone.add(other)
        self._waiting = [other for other in self._waiting if other not in gone]
        if name in self._rows:
            self.remove_task(self._rows.pop(name))

    def _count(self) -> str:
        done = self._ended.total()
        total = done + len(self._rows) + len(self._waiting)
        self.update(self._all, completed=done, total=total, description=f"{done} of {total}")
        return f"{done}/{total}"

    def _say(self, line: str, style: str = "") -> None:
        self.console.print(Text(line, style), soft_wrap=True)


def short(name: str) -> str:
    """Return ``mnist-lr solve@if-cg`` for ``settings/mnist-lr/dvc.yaml:solve@if-cg``."""
    return re.sub(r"^settings/(.+)/dvc\.yaml:", r"\1 ", name)


def minutes(seconds: float) -> str:
    """Return ``3:20`` for 200 seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
