"""The Prefect flow: one task per stage that is out of date, submitted as soon as it can start."""

import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed, State

from pipelines import dvc_process, environment, graph
from pipelines.graph import Stage
from pipelines.schedule import Schedule

# How many stages with a tag may run at the same time, over all flows of one Prefect server.
TAG_LIMITS = {"gpu": 1}


def _not_stopped(*_: Any) -> bool:
    return not dvc_process.stopped()


@task(
    task_run_name="{name}",
    cache_policy=NO_CACHE,  # DVC owns the cache
    persist_result=False,
    retry_delay_seconds=1,
    retry_condition_fn=_not_stopped,
)
def reproduce_stage(name: str, threads: int) -> "dvc_process.Result | State[Any]":
    """Bring one stage up to date.

    A failure is returned and not raised: one line instead of Prefect's traceback, with retries.
    """
    result = dvc_process.reproduce(name, threads, get_run_logger().info)
    if result.how in ("failed", "stopped"):
        return Failed(message=result.last_line or result.how)
    return result


@flow(name="headwater", persist_result=False)
def reproduce(targets: list[str], workers: int) -> "State[Any]":
    """Bring the targets, and all that they need, up to date.

    Args:
        targets: Stages, groups or outs; none means the whole graph.
        workers: How many stages run at the same time; each gets its share of the cores.

    Returns:
        A completed state, or a failed one that names the failed stages and those not run.

    Raises:
        GraphError: The graph cannot be read.
    """
    stages = graph.load(targets)
    schedule = Schedule(stages, workers, TAG_LIMITS)
    _limit_tags(stages)
    dvc_process.allow()
    try:
        how = _run(schedule, workers)
    finally:
        dvc_process.stop_all()
    return _closing_state(schedule, how, up_to_date=len(stages) - schedule.total)


def _limit_tags(stages: Mapping[str, Stage]) -> None:
    """Create the limits of the tags in use; a limit that exists is set to the same value again."""
    tags = {tag for stage in stages.values() for tag in stage.tags} & set(TAG_LIMITS)
    if tags:
        with get_client(sync_client=True) as client:
            for tag in sorted(tags):
                client.upsert_global_concurrency_limit_by_name(f"tag:{tag}", TAG_LIMITS[tag])


def free_slots() -> None:
    """Forget the slots that a killed flow still holds; for a server that no other flow uses.

    The server keeps a slot in its database but the lease that would end it in memory only.
    """
    with get_client(sync_client=True) as client:
        for tag in TAG_LIMITS:
            with suppress(ObjectNotFound):
                client.delete_global_concurrency_limit_by_name(f"tag:{tag}")


def _run(schedule: Schedule, workers: int) -> list[str]:
    """Submit and wait until nothing can start any more; return how each finished stage went."""
    log, clock = get_run_logger(), time.monotonic()
    cores = environment.cores()
    futures: dict[str, PrefectFuture[Any]] = {}
    outs: dict[str, Any] = {}
    ended: SimpleQueue[str] = SimpleQueue()
    how: list[str] = []
    while True:
        for stage in schedule.start():
            outs[stage.name] = graph.recorded_outs(stage.name)
            threads = cores if stage.alone else max(1, cores // workers)
            future = reproduce_stage.with_options(
                tags=set(stage.tags), retries=stage.retries
            ).submit(
                stage.name,
                threads,
                return_state=False,
                wait_for=[futures[need] for need in stage.needs if need in futures],
            )
            futures[stage.name] = future
            future.add_done_callback(partial(_put, ended, stage.name))
        if not schedule.running:
            return how
        name = ended.get()
        futures[name].wait()  # `state` is the final one only after it
        state = futures[name].state
        if state.is_completed():
            now = graph.recorded_outs(name)
            schedule.finish(name, same=now is not None and now == outs[name])
            how.append(futures[name].result().how)
        else:
            schedule.finish(name, state.message or state.name or "failed")
            how.append("failed")
        log.info(_progress(schedule, name, how[-1], time.monotonic() - clock))


def _put(ended: SimpleQueue[str], name: str, _: PrefectFuture[Any]) -> None:
    ended.put(name)


def _progress(schedule: Schedule, name: str, how: str, elapsed: float) -> str:
    ended = len(schedule.done) + len(schedule.failed)
    left = elapsed / ended * (schedule.total - ended)
    return (
        f"[{ended}/{schedule.total}] {name} {how}, "
        f"{_minutes(elapsed)} elapsed, about {_minutes(left)} left"
    )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _closing_state(schedule: Schedule, how: list[str], up_to_date: int) -> "State[Any]":
    counts = [f"{how.count(word)} {word}" for word in ("ran", "restored", "unchanged")]
    counts += [f"{up_to_date} up to date", f"{len(schedule.failed)} failed"]
    lines = [", ".join([*counts, f"{len(schedule.not_run)} not run"])]
    lines += [f"failed: {name}: {why}" for name, why in schedule.failed.items()]
    by_cause: dict[str, list[str]] = {}
    for name, causes in schedule.not_run.items():
        by_cause.setdefault(", ".join(causes), []).append(name)
    lines += [f"not run, for lack of {cause}: {', '.join(n)}" for cause, n in by_cause.items()]
    message = "\n".join(lines)
    return Failed(message=message) if schedule.failed else Completed(message=message)
