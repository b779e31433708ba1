"""How long stages took in earlier runs, and what that says of the rest of this one."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

PATH = Path("results/durations.json")
_GROUP = re.compile(r".*:|@.*")  # what is left of an address without it
_FAITH = 3.0  # a run begins as if it had done so many seconds of work at the speed of earlier ones
_ENOUGH = 3  # so many stages of a run tell how long others of it take, where no earlier run does


def load(path: Path) -> dict[str, float]:
    """Return the seconds of each stage by its address; none of a file that cannot be read."""
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_text()))
    return {}


def save(path: Path, found: Mapping[str, float], known: Container[str] | None = None) -> None:
    """Add what was found, drop what is not in the graph, if `known`; write only what is news."""
    old = load(path)
    new = {n: round(s, 2) for n, s in {**old, **found}.items() if known is None or n in known}
    if new != old:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(new, indent=0, sort_keys=True) + "\n")
        part.replace(path)


class Estimate:
    """How long the rest of a run takes; `actual` is for the seconds of the stages that it ran."""

    def __init__(self, stages: Mapping[str, Any], past: Mapping[str, float]) -> None:
        self._stages, self._past = stages, past
        self.actual: Mapping[str, float] = {}
        usual = _medians(past)
        self._expected = {
            name: past.get(name, usual.get(_group(name), 0.0))
            for name in stages
            if name in past or _group(name) in usual
        }

    @property
    def known(self) -> bool:
        """Whether there is something to go by: earlier runs of most stages, or some of this run."""
        return len(self.actual) >= _ENOUGH or 2 * len(self._expected) >= len(self._stages)

    def left(self, waiting: Sequence[str], running: Mapping[str, float], slots: int) -> float:
        """Return the seconds left; of the running stages, `running` has those since they began."""
        scale, clock = self._scale(running), 0.0
        everything = (*running, *waiting)
        seconds = self._of_new(name for name in everything if name not in self._expected)
        seconds |= {n: scale * self._expected[n] for n in everything if n in self._expected}
        alone = {name for name in seconds if self._stages[name].alone}
        todo = sorted(waiting, key=lambda name: name not in alone)
        ends = {name: max(seconds[name] - s, s / 10) for name, s in running.items()}
        unmet = set(seconds)
        while unmet:
            for name in [name for name in todo if unmet.isdisjoint(self._stages[name].needs)]:
                if len(ends) >= (slots if alone.isdisjoint({name, *ends}) else 1):
                    break
                ends[name] = clock + seconds[name]
                todo.remove(name)
            clock, first = min((end, name) for name, end in ends.items())
            del ends[first]
            unmet.remove(first)
        return clock

    def _of_new(self, names: Iterable[str]) -> dict[str, float]:
        """Return what stages without a past take: what those like them took in this run."""
        if len(self.actual) < _ENOUGH:
            return dict.fromkeys(names, 1.0)
        usual, any_other = _medians(self.actual), median(self.actual.values())
        return {name: usual.get(_group(name), any_other) for name in names}

    def _scale(self, running: Mapping[str, float]) -> float:
        """How many times the seconds of earlier runs this one takes; stages that are late count."""
        known, scale = {name: s for name, s in self.actual.items() if name in self._past}, 1.0
        for _ in range(2):
            past = sum(self._past[name] for name in known)
            scale = (_FAITH + sum(known.values())) / (_FAITH + past)
            known |= {n: s for n, s in running.items() if s > scale * self._past.get(n, math.inf)}
        return scale


def _group(name: str) -> str:
    return _GROUP.sub("", name)


def _medians(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the median of each group of stages, those of one kind."""
    groups = defaultdict(list)
    for name, each in seconds.items():
        groups[_group(name)].append(each)
    return {group: median(each) for group, each in groups.items()}
