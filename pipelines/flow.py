"""The Prefect flow: one task per stage that is out of date, submitted as soon as it can start."""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from prefect import flow, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from pipelines import durations, environment, fresh, ledger, runners
from pipelines.display import Display
from pipelines.schedule import Schedule, Stage, with_chains

_NONE = "none is at work: start one with python -m pipelines.agent"
_NO_GPU = "none has a GPU, which a stage waits for: start one with CUDA_VISIBLE_DEVICES, or --gpu"


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def run_stage(name: str, how: dict[str, Any]) -> "State[Any]":
    """Run one stage; a failure is returned and not raised: one line and no traceback."""
    why = runners.run(name, how)
    return Failed(message=why) if why else Completed()


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def run_stage_gpu(name: str, how: dict[str, Any]) -> "State[Any]":
    """Run one stage on a GPU: agents without one do not serve this task."""
    why = runners.run(name, how)
    return Failed(message=why) if why else Completed()


@flow(name="headwater", persist_result=False)
def reproduce(
    targets: list[str] | None = None,
    workers: int = 0,
    on: str = "threads",
    address: str | None = None,
    deadline: float = 0.0,
) -> "State[Any]":
    """Bring the targets, and all that they need, up to date.

    Args:
        targets: Stages, groups, outs or ``dvc.yaml`` files; none means ``./dvc.yaml``, as in DVC.
        workers: How many stages run at the same time; 0 for one a core, at most 8.
        on: Where they run, one of `runners.KINDS`.
        address: The Dask or Ray cluster; none means one of this machine.
        deadline: Seconds for each stage that has no deadline of its own; 0 for none.

    Returns:
        A completed state, or a failed one that names the failed stages and those not run.
    """
    fresh.allow()
    workers = workers or environment.workers()
    with (
        _book(targets or []) as (book, todo),
        Display(book.stages, known=book.known) as watch,
        runners.task_runner(on, workers, address) as runner,
    ):
        watch.plan(list(todo), workers)
        gpus = [] if address else environment.gpus()
        place = runners.Agents() if on == "agents" else runners.Machine(workers, gpus)
        work = _Work(book, watch, runner, place, deadline)
        work.here = on == "threads"
        try:
            work.do(todo.values())
        finally:
            fresh.stop_all()  # the runner waits for what it runs
        return work.closing_state()


@contextmanager
def _book(targets: list[str]) -> Iterator[tuple[ledger.Ledger, dict[str, Stage]]]:
    if ledger.opened:
        yield ledger.opened
    else:
        with ledger.Ledger(targets) as book:
            yield book, book.todo()


class _Work:
    """The stages of one run on their way through restoring, running and recording."""

    here = True  # stages run in this process and say for themselves that they begin

    def __init__(
        self,
        book: ledger.Ledger,
        watch: Display,
        runner: Any,
        place: runners.Machine,
        deadline: float,
    ) -> None:
        self._book, self._watch, self._runner, self._place = book, watch, runner, place
        self._deadline = deadline
        self._schedule = Schedule([])
        self._ended: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._futures: dict[str, Any] = {}
        self._began: dict[str, float] = {}
        self._tries = Counter[str]()
        self._said = False  # that there is no agent for a stage
        self.output = watch.output

    def do(self, todo: Iterable[Stage]) -> None:
        """Do what can be done."""
        place = self._place
        stages = [
            replace(stage, gpu=place.wants_gpu(stage), alone=stage.alone and place.shared)
            for stage in todo
        ]
        past = durations.load(durations.PATH)
        self._schedule = schedule = Schedule(with_chains(stages, past))
        runners.listener = self
        try:
            while schedule.left:
                started = schedule.start(*self._room())
                for stage in started:
                    self._take_up(stage)
                self._wait(1.0 if all(stage.name in schedule.running for stage in started) else 0.0)
        finally:
            runners.listener = None
            for name in list(self._futures):
                self._end(name, "stopped", fresh.STOPPED)

    def begin(self, name: str) -> None:
        """Hear that a stage begins."""
        self._began[name] = time.monotonic()
        self._watch.begin(name)

    def _room(self) -> tuple[int, int]:
        agents, gpus = self._place.room()
        lack = "" if agents else _NONE
        if agents and not gpus and self._schedule.waits_for_gpu:
            lack = _NO_GPU
        if lack and not self._said:
            self.output("agents", lack)
        self._said = bool(lack)
        return agents, gpus

    def _take_up(self, stage: Stage) -> None:
        try:
            if not self._book.is_changed(stage.name):
                self._end(stage.name, "spared")
            elif self._book.restore(stage.name):
                self._end(stage.name, "restored")
            else:
                self._submit(stage)
        except ledger.LedgerError as error:
            self._end(stage.name, "failed", str(error))

    def _submit(self, stage: Stage) -> None:
        name, work = stage.name, run_stage_gpu if stage.gpu else run_stage
        variables, order = self._place.lend(stage)
        how: dict[str, Any] = {"command": stage.command, "folder": stage.folder, "order": order}
        how |= {"variables": variables, "deadline": stage.deadline or self._deadline}
        if not self.here:
            self.begin(name)
        with tags(*stage.tags):
            future = self._futures[name] = self._runner.submit(work, {"name": name, "how": how})
        hear = partial(future.add_done_callback, lambda ended: self._ended.put((name, ended)))
        _patiently(hear)

    def _wait(self, seconds: float) -> None:
        """Wait for the end of a stage; one that is lost goes to somebody else."""
        try:
            name, future = self._ended.get(timeout=seconds)
        except Empty:
            for name in [name for name in self._futures if self._place.is_lost(name)]:
                self._put_back(name)
            return
        if future != self._futures.get(name):
            return  # the late answer of one that was lost
        _patiently(future.wait)  # `state` is the final one only after it
        why = "" if future.state.is_completed() else future.state.message or future.state.name
        if not why:
            self._record(name)
        elif why == runners.HANDED_BACK:
            self._put_back(name)
        elif self._tries[name] < self._schedule.running[name].retries:
            self._tries[name] += 1
            self._put_back(name)
        else:
            self._end(name, "failed", why)

    def _record(self, name: str) -> None:
        try:
            self._book.record(name)
        except ledger.LedgerError as error:
            self._end(name, "failed", str(error))
        else:
            self._end(name, "ran")

    def _put_back(self, name: str) -> None:
        del self._futures[name]
        self._place.take_back(name)
        self._schedule.put_back(name)

    def _end(self, name: str, how: str, why: str = "") -> None:
        if self._futures.pop(name, None):
            self._place.take_back(name)
        began = self._began.pop(name, None)
        self._watch.end(name, how, time.monotonic() - began if began else 0.0, why)
        self._schedule.finish(name, why)

    def closing_state(self) -> "State[Any]":
        """Return a state whose message counts the stages and names what failed."""
        book, failed, not_run = self._book, self._schedule.failed, self._schedule.not_run
        book.failed, book.not_run = failed, not_run
        how = Counter(book.ended.values())
        same = len(book.stages) - len(book.ended) - len(failed) - len(not_run)
        message = f"{how['ran']} ran, {how['restored']} restored, {same} up to date"
        message += f", {len(failed)} failed, {len(not_run)} not run"
        for name, why in failed.items():
            repeat = f"python -m pipelines.benchmark {shlex.quote(name)}"
            message += f"\nfailed: {name}: {why} (to repeat it: {repeat})"
        by_cause: dict[str, list[str]] = {}
        for name, causes in not_run.items():
            by_cause.setdefault(", ".join(causes), []).append(name)
        for cause, names in by_cause.items():
            message += f"\nnot run, for lack of {cause}: {', '.join(names)}"
        return (Failed if failed else Completed)(message=message)


def _patiently(call: Callable[[], object]) -> None:
    """Call it again while Prefect's server does not know yet of a task that an agent has begun."""
    for _ in range(100):
        with suppress(AttributeError, RuntimeError):
            call()
            return
        time.sleep(0.1)
    call()
