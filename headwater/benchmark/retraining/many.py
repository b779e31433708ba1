"""Training of many models: in processes on a CPU, stacked on a GPU."""

import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwater.benchmark.retraining.stacked import train_stacked
from headwater.benchmark.retraining.training import Trained, train_model
from headwater.benchmark.settings import get_setting
from headwater.benchmark.settings.setting import Setting

__all__ = ["Finish", "Job", "Outputs", "final_parameters", "run_parameters", "train_many"]

Outputs: TypeAlias = dict[str, NDArray[np.generic]]
# Turns a trained model into what is sent back; a function of a module, so that workers find it.
Finish: TypeAlias = Callable[[Trained], Outputs]


@dataclass(frozen=True)
class Job:
    """One model to train.

    Args:
        index: Name of the job, given back with its outputs.
        seed: Seed of the training run.
        subset: bool (n_train,), the samples to train on; all of them by default.
    """

    index: int
    seed: int
    subset: NDArray[np.bool_] | None = None


def final_parameters(trained: Trained) -> Outputs:
    """Return the state dict of the trained model as arrays, by name."""
    return {name: tensor.cpu().numpy() for name, tensor in trained.model_state.items()}


def run_parameters(trained: Trained) -> Outputs:
    """Return the parameters at checkpoint i as ``NN/name``, its (epoch, learning rate) as ``rate/NN``."""
    found: Outputs = {}
    for i, checkpoint in enumerate(trained.checkpoints):
        found |= {f"{i:02d}/{name}": t.cpu().numpy() for name, t in checkpoint.state.items()}
        found[f"rate/{i:02d}"] = np.array([checkpoint.epoch, checkpoint.learning_rate])
    return found


def train_many(
    setting_name: str,
    inputs: Tensor,
    labels: Tensor,
    jobs: Sequence[Job],
    *,
    finish: Finish = final_parameters,
    checkpoint_count: int = 0,
    epochs: int | None = None,
    workers: int | None = None,
    models_at_once: int = 50,
) -> Iterator[tuple[Job, Outputs]]:
    """Train the models of all jobs and yield (job, outputs) as each is done.

    Samples on a CPU: processes of one thread each. Samples on a GPU: stacks of jobs with subsets of
    equal size, in this process. The outputs of a job depend neither on the other jobs nor on the
    order in which they finish. Closing the iterator, an exception, or the death of this process
    ends the workers.

    Args:
        setting_name: Of `headwater.benchmark.settings`, or an import path "package.module:OBJECT".
        inputs: Training inputs (n, ...).
        labels: int64 (n,).
        jobs: The models to train.
        finish: finish(trained) -> named arrays, sent back; runs where the model was trained.
        checkpoint_count: Checkpoints kept in each `Trained`.
        epochs: Stop after this many epochs of the recipe; by default at its end.
        workers: Processes; by default the CPU cores this process may use.
        models_at_once: Largest stack on a GPU.

    Raises:
        FloatingPointError: If a loss becomes NaN or infinite; a note names the job.
        BrokenProcessPool: If a worker was killed, for example for lack of memory.
    """
    setting = get_setting(setting_name).stopped_after(epochs)
    if inputs.device.type != "cpu":
        yield from _train_in_stacks(
            setting,
            inputs,
            labels,
            jobs,
            finish=finish,
            checkpoint_count=checkpoint_count,
            models_at_once=models_at_once,
        )
    else:
        yield from _train_in_processes(
            setting_name,
            inputs,
            labels,
            jobs,
            finish=finish,
            checkpoint_count=checkpoint_count,
            epochs=epochs,
            workers=workers or _usable_cores(),
        )


def _train_in_stacks(
    setting: Setting,
    inputs: Tensor,
    labels: Tensor,
    jobs: Sequence[Job],
    *,
    finish: Finish,
    checkpoint_count: int,
    models_at_once: int,
) -> Iterator[tuple[Job, Outputs]]:
    n = len(inputs)
    by_size: dict[int, list[Job]] = defaultdict(list)
    for job in jobs:
        by_size[n if job.subset is None else int(job.subset.sum())].append(job)
    for group in by_size.values():
        for start in range(0, len(group), models_at_once):
            chunk = group[start : start + models_at_once]
            masks = [np.ones(n, bool) if job.subset is None else job.subset for job in chunk]
            stack = train_stacked(
                setting,
                inputs,
                labels,
                [job.seed for job in chunk],
                np.stack(masks),
                checkpoint_count=checkpoint_count,
            )
            for job, trained in zip(chunk, stack, strict=True):
                yield job, finish(trained)


def _train_in_processes(
    setting_name: str,
    inputs: Tensor,
    labels: Tensor,
    jobs: Sequence[Job],
    *,
    finish: Finish,
    checkpoint_count: int,
    epochs: int | None,
    workers: int,
) -> Iterator[tuple[Job, Outputs]]:
    context = get_context("spawn")
    # Workers end when the writing end closes: by hand below, or by the system if this process dies.
    lifeline, end_of_lifeline = context.Pipe(duplex=False)
    arrays = (inputs.numpy(), labels.numpy())
    executor = ProcessPoolExecutor(
        max_workers=max(1, min(workers, len(jobs))),
        mp_context=context,
        initializer=_start_worker,
        initargs=(lifeline, setting_name, epochs, arrays, finish, checkpoint_count),
    )
    try:
        jobs_of = {executor.submit(_run_job, job): job for job in jobs}
        for future in as_completed(jobs_of):
            yield jobs_of[future], future.result()
        executor.shutdown()
    finally:
        end_of_lifeline.close()
        executor.shutdown(cancel_futures=True)
        lifeline.close()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class _Work:
    setting: Setting
    inputs: Tensor
    labels: Tensor
    finish: Finish
    checkpoint_count: int


_WORK: list[_Work] = []


def _start_worker(
    lifeline: Connection,
    setting_name: str,
    epochs: int | None,
    arrays: tuple[NDArray[np.generic], ...],
    finish: Finish,
    checkpoint_count: int,
) -> None:
    # Ctrl-C reaches the whole process group; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(1)
    inputs, labels = (torch.from_numpy(array) for array in arrays)
    setting = get_setting(setting_name).stopped_after(epochs)
    _WORK.append(_Work(setting, inputs, labels, finish, checkpoint_count))


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)
    os._exit(1)


def _run_job(job: Job) -> Outputs:
    work = _WORK[0]
    try:
        trained = train_model(
            work.setting,
            work.inputs,
            work.labels,
            job.seed,
            job.subset,
            checkpoint_count=work.checkpoint_count,
        )
        return work.finish(trained)
    except Exception as error:
        error.add_note(f"in job {job.index}, seed {job.seed}")
        raise
