"""The ready queue: which stages may start now, and what became of the others."""

from collections.abc import Mapping

from pipelines.graph import Stage


class Schedule:
    """Decides what starts next, from the graph, a number of slots and the limits of the tags.

    A stage starts when what it needs is done, those of a higher priority first. Before all others
    come those that ask for all cores: they wait until nothing else runs, and nothing overtakes them.
    A stage whose tag is at its limit is overtaken, so that it keeps no slot while it waits. What needs
    a failed stage is never started. A stage that waits only because of what it needs is spared when
    all of that ends with the outs it had before.

    Attributes:
        running: The stages that were started and have not ended.
        done: The stages that ended well.
        failed: The stages that did not, with the reason.
        not_run: The stages that were given up, each with the failed stages that it needs.
        total: How many stages there were to start, without those that were spared.

    Args:
        stages: The graph, each stage after what it needs. Only stale stages are started.
        slots: How many stages may run at the same time.
        limits: How many stages with a tag may run at the same time.
    """

    def __init__(self, stages: Mapping[str, Stage], slots: int, limits: Mapping[str, int]) -> None:
        self._slots = slots
        self._limits = limits
        self._waiting = {name: stage for name, stage in stages.items() if stage.stale}
        self._same = {name for name, stage in stages.items() if not stage.stale}
        self.total = len(self._waiting)
        self.running: dict[str, Stage] = {}
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.not_run: dict[str, list[str]] = {}

    def start(self) -> list[Stage]:
        """Return the stages to start now; each of them must `finish` later."""
        self._give_up_and_spare()
        started: list[Stage] = []
        for stage in sorted(self._waiting.values(), key=_first):
            if self._must_wait(stage):
                continue
            if not self._fits(stage):
                break
            self.running[stage.name] = self._waiting.pop(stage.name)
            started.append(stage)
        return started

    def _give_up_and_spare(self) -> None:
        """Drop what can never start and what need not, each stage after what it needs."""
        for stage in list(self._waiting.values()):
            if causes := self._failures_behind(stage):
                del self._waiting[stage.name]
                self.not_run[stage.name] = causes
            elif not stage.changed and self._same.issuperset(stage.needs):
                del self._waiting[stage.name]
                self._same.add(stage.name)
                self.total -= 1

    def _failures_behind(self, stage: Stage) -> list[str]:
        failed = {name for name in stage.needs if name in self.failed}
        return sorted(failed.union(*(self.not_run.get(name, ()) for name in stage.needs)))

    def _must_wait(self, stage: Stage) -> bool:
        tags = [tag for other in self.running.values() for tag in other.tags]
        full = any(tags.count(tag) >= self._limits.get(tag, self._slots) for tag in stage.tags)
        return full or any(name in self._waiting or name in self.running for name in stage.needs)

    def _fits(self, stage: Stage) -> bool:
        if stage.alone or any(other.alone for other in self.running.values()):
            return not self.running
        return len(self.running) < self._slots

    def finish(self, name: str, error: str | None = None, *, same: bool = False) -> None:
        """Record that a running stage ended.

        Args:
            name: The stage.
            error: The reason, if it failed.
            same: Its outs are those it had before.
        """
        del self.running[name]
        if error is not None:
            self.failed[name] = error
            return
        self.done.append(name)
        if same:
            self._same.add(name)


def _first(stage: Stage) -> tuple[bool, int]:
    return not stage.alone, -stage.priority
