"""Where stages run: on this machine, on a Dask or Ray cluster, or with agents on other machines."""

import os
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipelines import environment, fresh
from pipelines.schedule import Stage

KINDS = ("threads", "dask", "ray", "agents")
FOLDER = Path(".prefect/agents")  # of the repository that the flow and its agents share
HANDED_BACK = "handed back"
SECONDS_TO_LIVE = float(os.environ.get("HEADWATER_AGENT_SECONDS", "15"))  # without a sign of it
ME = f"{socket.gethostname()}-{os.getpid()}"
listener: Any = None  # is told of the stages that begin in this process and of what they write
_busy = threading.Lock()


class RunnerError(RuntimeError):
    """A runner cannot be used; one line that says what to do."""


def task_runner(on: str, workers: int, address: str | None) -> Any:
    """Return one of Prefect's task runners.

    Raises:
        RunnerError: Its package is not installed.
    """
    os.environ["DASK_DISTRIBUTED__WORKER__DAEMON"] = "False"  # its workers start processes
    cluster = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": 0}
    kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
        "threads": ("prefect.task_runners", "ThreadPoolTaskRunner", {"max_workers": workers}),
        "agents": ("prefect.task_runners", "PrefectTaskRunner", {}),
        "dask": ("prefect_dask", "DaskTaskRunner", {"cluster_kwargs": cluster}),
        "ray": ("prefect_ray", "RayTaskRunner", {"init_kwargs": {"num_cpus": workers}}),
    }
    module, kind, options = kinds[on]
    try:
        runner = getattr(import_module(module), kind)
    except ImportError:
        raise RunnerError(f"--on {on} needs one more package: install prefect-{on}") from None
    return runner(address=address) if address else runner(**options)


def run(name: str, how: dict[str, Any]) -> str:
    """Run a stage in a fresh process of this machine; return in one line why it failed, if it did.

    An agent, which gets orders, runs one stage at a time and hands a second one back. It writes its
    name into the file of the order, and stops when the flow has taken the file away.
    """
    order = Path(how.pop("order"))
    if order == Path():
        if listener is None:
            return fresh.run(**how)
        listener.begin(name)
        return fresh.run(output=partial(listener.output, name), **how)
    if not _busy.acquire(blocking=False):
        return HANDED_BACK
    try:
        with order.open("r+") as file:
            file.write(ME)
        return fresh.run(output=partial(print, f"{name} |", flush=True), wanted=order.exists, **how)
    except FileNotFoundError:
        return fresh.STOPPED
    finally:
        _busy.release()


class Machine:
    """Room for some stages at the same time, and GPUs that are lent to one stage at a time."""

    shared = True  # its stages share the cores: one that asks for all of them runs alone

    def __init__(self, workers: int, gpus: list[str]) -> None:
        self._workers, self._gpus, self._free = workers, len(gpus), gpus
        self._lent: dict[str, str] = {}

    def room(self) -> tuple[int, int]:
        """Return for how many stages there is room, one of which may wait, and how many GPUs."""
        return self._workers + 1, self._gpus

    def wants_gpu(self, stage: Stage) -> bool:
        """Whether a stage gets a GPU; where there is none, one that insists fails in its own words."""
        return self._gpus > 0 and stage.device in ("cuda", "auto")

    def lend(self, stage: Stage) -> tuple[dict[str, str], str]:
        """Return the environment variables for a stage, and the file of the order if it needs one."""
        cores = environment.cores()
        threads = cores if stage.alone else max(1, cores // self._workers)
        if not stage.gpu:
            return {"OMP_NUM_THREADS": str(threads)}, ""
        gpu = self._lent[stage.name] = self._free.pop()
        return {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": gpu}, ""

    def take_back(self, name: str) -> None:
        """Take back what was lent to a stage."""
        if name in self._lent:
            self._free.append(self._lent.pop(name))

    def is_lost(self, name: str) -> bool:
        """Whether a stage must be submitted again; the clusters see to that themselves."""
        return False


class Agents(Machine):
    """The agents that are at work, by the files that they touch and the orders that they take."""

    shared = False

    def __init__(self) -> None:
        self._signs: dict[str, tuple[float, float]] = {}  # the last of each agent, and when it came
        self._orders: dict[str, tuple[Path, float, bool]] = {}  # since when, and if for a GPU
        FOLDER.mkdir(parents=True, exist_ok=True)
        for order in FOLDER.glob("*.order"):  # of a flow that was killed
            order.unlink()
        self._living()
        time.sleep(2)
        self._gpu_at_first = any(self._living().values())

    def room(self) -> tuple[int, int]:
        """Return how many agents live, and how many of them could take a stage that wants a GPU."""
        living = self._living()
        others = [order.read_text() for order, _, gpu in self._orders.values() if not gpu]
        return len(living), sum(gpu for agent, gpu in living.items() if agent not in others)

    def wants_gpu(self, stage: Stage) -> bool:
        """Whether a stage waits for an agent with a GPU: one that insists also for the first."""
        return stage.device == "cuda" or (stage.device == "auto" and self._gpu_at_first)

    def lend(self, stage: Stage) -> tuple[dict[str, str], str]:
        """Return the file of a new order."""
        order = FOLDER.absolute() / f"{uuid4().hex}.order"
        order.touch()
        self._orders[stage.name] = order, time.monotonic(), stage.gpu
        return {}, str(order)

    def take_back(self, name: str) -> None:
        """Withdraw the order."""
        self._orders.pop(name)[0].unlink()

    def is_lost(self, name: str) -> bool:
        """Whether the agent that took a stage is gone, or none took it."""
        order, since, _ = self._orders[name]
        taker = order.read_text()
        if taker:
            return taker not in self._living()
        return time.monotonic() - since > SECONDS_TO_LIVE

    def _living(self) -> dict[str, bool]:
        """Each agent that gave a new sign of late, and whether it has a GPU; clocks may differ."""
        now = time.monotonic()
        for file in FOLDER.glob("*.?pu"):
            with suppress(FileNotFoundError):
                sign = file.stat().st_mtime
                if sign != self._signs.setdefault(file.name, (sign, float("-inf")))[0]:
                    self._signs[file.name] = sign, now
        living = [name for name, (_, when) in self._signs.items() if now - when < SECONDS_TO_LIVE]
        return {name[:-4]: name.endswith(".gpu") for name in living}
