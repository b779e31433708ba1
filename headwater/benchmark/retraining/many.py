"""Training of many models: in processes on a CPU; on a GPU in stacks, or one after the other."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.recipes import END, Checkpoint
from headwater.benchmark.retraining.stacked import is_stackable, train_stacked
from headwater.benchmark.settings import get_setting
from headwater.benchmark.settings.setting import Setting
from headwater.benchmark.training import train_model
from headwater.benchmark.training.training import check_epochs

__all__ = ["Job", "train_many"]


@dataclass(frozen=True)
class Job:
    """One model to train.

    Args:
        index: name of the job, given back with its checkpoints.
        seed: of the training run.
        subset: bool (n_train,), the samples to train on; None: all.
        epochs: after which a state is kept, ascending.
    """

    index: int
    seed: int
    subset: NDArray[np.bool_] | None = None
    epochs: tuple[int, ...] = (END,)


def train_many(
    setting_name: str,
    inputs: Tensor,
    labels: Tensor,
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    models_at_once: int = 50,
) -> Iterator[tuple[Job, list[Checkpoint]]]:
    """Train the models of all jobs, and yield each with its checkpoints when it is done.

    Samples on a CPU: processes of one thread each. Samples on a GPU: stacks of jobs with subsets of
    equal size, or one after the other where models hold buffers (BatchNorm's). The checkpoints of a job,
    on the CPU, depend neither on the other jobs nor on the order in which they finish. Closing the
    iterator, an exception, or the death of this process ends the workers.

    Args:
        setting_name: of `headwater.benchmark.settings`, or an import path "package.module:OBJECT".
        inputs: training inputs (n, ...).
        labels: (n, ...).
        jobs: the models to train.
        workers: processes; default: the CPU cores this process may use.
        models_at_once: the largest stack on a GPU.

    Raises:
        ValueError: if training ends before an epoch that is asked for.
        FloatingPointError: if a loss becomes NaN or infinite; a note names the job.
        BrokenProcessPool: if a worker was killed, for example for lack of memory.
    """
    setting = get_setting(setting_name)
    for job in jobs:
        check_epochs(setting, job.epochs)
    if inputs.device.type == "cpu":
        found = _in_processes(setting_name, inputs, labels, jobs, workers or _usable_cores())
    elif is_stackable(setting):
        found = _in_stacks(setting, inputs, labels, jobs, models_at_once)
    else:
        found = (
            (job, train_model(setting, inputs, labels, job.seed, job.subset, epochs=job.epochs))
            for job in jobs
        )
    for job, checkpoints in found:
        yield job, [_on_cpu(checkpoint) for checkpoint in checkpoints]


def _on_cpu(checkpoint: Checkpoint) -> Checkpoint:
    state = {name: tensor.cpu() for name, tensor in checkpoint.state.items()}
    return dataclasses.replace(checkpoint, state=state)


def _in_stacks(
    setting: Setting, inputs: Tensor, labels: Tensor, jobs: Sequence[Job], models_at_once: int
) -> Iterator[tuple[Job, list[Checkpoint]]]:
    n = len(inputs)
    alike: dict[tuple[int, tuple[int, ...]], list[Job]] = defaultdict(list)
    for job in jobs:
        alike[n if job.subset is None else int(job.subset.sum()), job.epochs].append(job)
    for (_, epochs), group in alike.items():
        for start in range(0, len(group), models_at_once):
            chunk = group[start : start + models_at_once]
            masks = [np.ones(n, bool) if job.subset is None else job.subset for job in chunk]
            seeds = [job.seed for job in chunk]
            stack = train_stacked(setting, inputs, labels, seeds, np.stack(masks), epochs=epochs)
            yield from zip(chunk, stack, strict=True)


def _in_processes(
    setting_name: str, inputs: Tensor, labels: Tensor, jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, list[Checkpoint]]]:
    context = get_context("spawn")
    # Workers end when the writing end closes: by hand below, or by the system if this process dies.
    lifeline, end_of_lifeline = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(
        max_workers=max(1, min(workers, len(jobs))),
        mp_context=context,
        initializer=_start_worker,
        initargs=(lifeline, setting_name, inputs.numpy(), labels.numpy()),
    )
    try:
        jobs_of = {executor.submit(_run_job, job): job for job in jobs}
        for future in as_completed(jobs_of):
            yield jobs_of.pop(future), [_restored(record) for record in future.result()]
        executor.shutdown()
    finally:
        end_of_lifeline.close()
        executor.shutdown(cancel_futures=True)
        lifeline.close()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_WORK: list[tuple[Setting, Tensor, Tensor]] = []


def _start_worker(
    lifeline: Connection,
    setting_name: str,
    inputs: NDArray[np.generic],
    labels: NDArray[np.generic],
) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(1)
    _WORK.append((get_setting(setting_name), torch.from_numpy(inputs), torch.from_numpy(labels)))


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)
    os._exit(1)


def _run_job(job: Job) -> list[dict[str, Any]]:
    """Return the checkpoints of a job as what processes send: arrays, not tensors."""
    try:
        found = train_model(*_WORK[0], job.seed, job.subset, epochs=job.epochs)
    except Exception as error:
        error.add_note(f"in job {job.index}, seed {job.seed}")
        raise
    return [{**vars(c), "state": {k: t.numpy() for k, t in c.state.items()}} for c in found]


def _restored(record: dict[str, Any]) -> Checkpoint:
    state = {name: torch.from_numpy(array) for name, array in record.pop("state").items()}
    return Checkpoint(**record, state=state)
