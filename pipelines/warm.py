"""Processes forked from one that has imported the libraries: a stage starts seconds sooner.

That one, the fork server, holds libraries only and never this project's own code: each process
imports that for itself, so that what DVC hashes is what runs.
"""

import gc
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import TextIO

from pipelines import leash

LIBRARIES = (
    *("torch", "torch.func", "torch._dynamo", "torch._decomp.decompositions_for_jvp"),
    *("numpy", "scipy.stats", "concurrent.futures.process", "multiprocessing.queues"),
    *("zarr", "safetensors.torch", "safetensors.numpy", "psutil", "networkx"),
    *("pydantic.main", "pydantic.json_schema", "pydantic.types", "pydantic._internal._validators"),
    *("yaml", "rich.progress", "rich.table"),
    *("dvc.repo.stage", "dvc.repo.params", "dvc.repo.metrics", "dvc.repo.plots", "dvc.data_cloud"),
    *("dvc.cli.parser", "dvc.repo.reproduce", "dvc.repo.datasets", "dvc.stage.run", "dvc.rwlock"),
    *("dvc.lock", "dvc.cachemgr", "dvc.analytics", "dvc.compare", "dvc.utils.strictyaml"),
    *("dvc_data.hashfile.db.local", "fsspec.implementations.memory", "scmrepo.git"),
    *("dulwich.worktree", "dulwich.ignore", "ruamel.yaml", "pyparsing", "flatten_dict"),
)
# The libraries read these once, in the fork server, for all processes.
VARIABLES = {
    # Stages compute with this many threads.
    "OMP_NUM_THREADS": os.environ.get("HEADWATER_THREADS", "1"),
    # glibc keeps the memory of a tensor that is gone for the next one: to map and clear fresh pages
    # for each takes a tenth to a quarter of the time of a stage.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
_MODULE = re.compile(r"python -m [\w.]+( [\w@%+=:,./-]+)*")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(LIBRARIES))
_lock = threading.Lock()
"""Held where multiprocessing reads exit codes: of two threads at once one would get a wrong one."""


class Process:
    """A forked process on a leash: it leads its own session, which ends with this process.

    Attributes:
        output: What it, and whatever it starts, writes to standard output and error.

    Args:
        main: Called there with the arguments; returns the exit code. A function of a module.
        arguments: Its arguments.
        environment: Variables on top of this process's own.
    """

    def __init__(
        self,
        main: Callable[[Sequence[str]], int],
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        rope, self._rope = _context.Pipe(duplex=False)
        output, writer = _context.Pipe(duplex=False)
        variables = {**os.environ, **VARIABLES, **leash.search_paths(), **environment}
        self._process = _context.Process(
            target=_begin, args=(main, list(arguments), variables, rope, writer)
        )
        with _lock:
            _start(self._process)
        rope.close()
        writer.close()
        self.output: TextIO = os.fdopen(os.dup(output.fileno()), errors="replace")
        output.close()
        threading.Thread(target=self._sweep, daemon=True).start()

    def _sweep(self) -> None:
        connection.wait([self._process.sentinel])
        leash.kill_session(self._process.pid or 0)

    def let_go(self) -> None:
        """Tell it to end its session, without waiting for it."""
        self._rope.close()

    def end(self) -> int:
        """Let go of it, wait for its end, and return its exit code."""
        self.let_go()
        if not connection.wait([self._process.sentinel], leash.SECONDS_TO_END):
            leash.kill_session(self._process.pid or 0)
        connection.wait([self._process.sentinel])
        with _lock:
            self._process.join()
        self.output.close()
        return self._process.exitcode or 0


def _start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a process; the first one starts the fork server, with the variables as they are then."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(VARIABLES)
    try:
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(
    main: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    variables: Mapping[str, str],
    rope: connection.Connection,
    output: connection.Connection,
) -> None:
    """Become the leader of a session, as `leash.start` would make one, and run `main`."""
    gc.freeze()  # the collector would visit all that the libraries hold, and copy its pages
    os.setsid()
    for end, number in ((rope, 0), (output, 1), (output, 2)):
        os.dup2(end.fileno(), number)
    rope.close()
    output.close()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(variables)
    sys.exit(main(arguments))


class ModuleRunner:
    """A fork of this process that waits for one ``python -m MODULE ...`` to run.

    Make it before this process starts threads or takes locks. It ends with this process.
    """

    def __init__(self) -> None:
        self._orders, orders = multiprocessing.Pipe()
        self._pid: int | None = os.fork()
        if self._pid == 0:
            self._orders.close()
            _obey(orders)
        orders.close()

    def takes(self, command: str, path: str) -> bool:
        """Whether it can run a shell command: one module, this Python, and nothing for a shell."""
        python = shutil.which("python", path=path)
        return (
            self._pid is not None
            and _MODULE.fullmatch(command) is not None
            and python is not None
            and Path(python).parent == Path(sys.executable).parent
        )

    def run(self, command: str, folder: str, environment: Mapping[str, str]) -> int:
        """Run a command that it takes, the only one; return the exit code, -N for signal N."""
        pid, self._pid = self._pid, None
        assert pid is not None
        self._orders.send((command.split()[2:], str(folder), dict(environment)))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _obey(orders: connection.Connection) -> None:
    """Wait for the command, run it, and exit."""
    try:
        (module, *arguments), folder, environment = orders.recv()
    except EOFError:  # there was nothing to run
        sys.exit(0)
    orders.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)
