"""The stages, and the ready queue: which of them may start now, and what became of the others."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """One stage of the graph, as ``dvc.yaml`` has it."""

    name: str  # its address in DVC, for example settings/mnist-lr/dvc.yaml:solve@if-cg
    needs: tuple[str, ...] = ()  # the stages whose outs it depends on
    command: str = ""
    folder: str = "."
    device: str = ""  # where it computes, if a parameter of it says so: cpu, cuda or auto
    gpu: bool = False  # in this run it has a GPU for itself
    alone: bool = False  # `cores: all`: no other stage runs beside it
    chain: float = 0.0  # seconds of the longest chain of stages that begins with it
    retries: int = 0
    deadline: float = 0.0  # seconds after which it is killed; 0 for none
    tags: tuple[str, ...] = ()  # of its task in Prefect
    first: bool = False  # its outs decide what else is out of date


def stale(stages: Iterable[Stage], changed: Container[str]) -> dict[str, Stage]:
    """Return what changed and all that depends on it; each stage comes after what it needs."""
    found: dict[str, Stage] = {}
    for stage in stages:
        if stage.name in changed or not found.keys().isdisjoint(stage.needs):
            found[stage.name] = stage
    return found


def with_chains(stages: Sequence[Stage], seconds: Mapping[str, float]) -> list[Stage]:
    """Return the stages, each after what it needs, with the chains that follow from their seconds."""
    chains: dict[str, float] = {}
    for stage in reversed(stages):
        chain = chains[stage.name] = chains.get(stage.name, 0.0) + seconds.get(stage.name, 0.0)
        for need in stage.needs:
            chains[need] = max(chain, chains.get(need, 0.0))
    return [replace(stage, chain=chains[stage.name]) for stage in stages]


class Schedule:
    """Decides which of some stages start next; whatever else these need is done.

    A stage starts when what it needs is done, the longest chain first. Before all others
    come those that ask for all cores: they wait until nothing else runs, and nothing overtakes them.
    One that waits for a GPU is overtaken. What needs a failed stage is never started.

    Attributes:
        running: The stages that were started and have not ended.
        failed: The stages that failed, with the reason.
        not_run: The stages that were given up, each with the failed stages that it needs.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._waiting = {stage.name: stage for stage in stages}
        self.running: dict[str, Stage] = {}
        self.failed: dict[str, str] = {}
        self.not_run: dict[str, list[str]] = {}

    @property
    def left(self) -> bool:
        """Whether anything runs or may still start."""
        return bool(self._waiting or self.running)

    @property
    def waits_for_gpu(self) -> bool:
        """Whether a stage that wants a GPU has not been started."""
        return any(stage.gpu for stage in self._waiting.values())

    def start(self, slots: int, gpus: int = 0) -> list[Stage]:
        """Return the stages to start now, so that at most so many run; each must `finish` later."""
        self._give_up()
        started: list[Stage] = []
        for stage in sorted(self._waiting.values(), key=lambda s: (not s.alone, -s.chain)):
            if self._must_wait(stage, gpus):
                continue
            if len(self.running) >= slots or (self.running and self._apart(stage)):
                break
            self.running[stage.name] = self._waiting.pop(stage.name)
            started.append(stage)
        return started

    def finish(self, name: str, error: str = "") -> None:
        """Record that a running stage ended, and the reason if it failed."""
        del self.running[name]
        if error:
            self.failed[name] = error

    def put_back(self, name: str) -> None:
        """Let a running stage wait again."""
        self._waiting[name] = self.running.pop(name)

    def _give_up(self) -> None:
        """Drop what can never start, each stage after what it needs."""
        for stage in list(self._waiting.values()):
            causes = {name for name in stage.needs if name in self.failed}
            causes.update(*(self.not_run.get(name, ()) for name in stage.needs))
            if causes:
                del self._waiting[stage.name]
                self.not_run[stage.name] = sorted(causes)

    def _must_wait(self, stage: Stage, gpus: int) -> bool:
        full = stage.gpu and sum(other.gpu for other in self.running.values()) >= gpus
        return full or any(name in self._waiting or name in self.running for name in stage.needs)

    def _apart(self, stage: Stage) -> bool:
        return stage.alone or any(other.alone for other in self.running.values())
