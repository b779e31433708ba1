"""A command in a process of its own, forked from one that has imported the libraries.

Python's fork server does it. It holds libraries only and never this project's own code, so that what
DVC hashes is what runs. A command's process group ends with whoever started it, however that ends.
"""

import gc
import multiprocessing
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

LIBRARIES = (
    *("torch", "torch.func", "torch._dynamo", "torch._decomp.decompositions_for_jvp"),
    *("numpy", "scipy.stats", "zarr", "safetensors.torch", "safetensors.numpy", "yaml", "psutil"),
    *("pydantic.main", "pydantic.json_schema", "pydantic.types", "rich.progress", "rich.table"),
    *("concurrent.futures.process", "multiprocessing.queues"),
)
STOPPED = "stopped"
_MODULE = re.compile(r"python -m [\w.]+( [\w@%+=:,./-]+)*")  # nothing in it is for a shell
_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(list(LIBRARIES))
_spawned = multiprocessing.get_context("spawn")
_lock = threading.Lock()  # of two threads that read exit codes at once one would get a wrong one
_running: set[BaseProcess] = set()
_stopped = threading.Event()
allow = _stopped.clear
prepare = forkserver.ensure_running  # lets it import the libraries in the background


def run(
    command: str,
    folder: str,
    output: Callable[[str], object] = lambda line: None,
    variables: Mapping[str, str] | None = None,
    deadline: float = 0.0,
    wanted: Callable[[], bool] = lambda: True,
    forked: bool = True,
) -> str:
    """Run a command as a shell would in which this Python's environment is activated.

    Args:
        command: One shell command a line.
        folder: Where it runs.
        output: Called with each line that it writes.
        variables: Environment variables on top of this process's own.
        deadline: Seconds after which it is killed; 0 for none.
        wanted: Asked every second; it is killed when the answer is no.
        forked: Whether the libraries should be there; without, a first start takes no seconds.

    Returns:
        Nothing if it ended well, or why it did not, in one line.
    """
    context = _forked if forked else _spawned
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    environment = {**os.environ, "PATH": path, **(variables or {})}
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(command, folder, environment, sender))
    with _lock:
        if _stopped.is_set():
            return STOPPED
        with _main():
            process.start()
        _running.add(process)
    sender.close()
    last, end, why = [""], time.monotonic() + (deadline or float("inf")), ""
    reader = threading.Thread(target=_read, args=(receiver, output, last), daemon=True)
    reader.start()
    try:
        while not connection.wait([process.sentinel], max(0.0, min(1.0, end - time.monotonic()))):
            if time.monotonic() > end:
                why = f"took longer than its deadline of {deadline:g} s"
            elif _stopped.is_set() or not wanted():
                why = STOPPED
            if why:
                _kill(process)
    finally:
        _kill(process)  # or whatever it left running
        with _lock:
            process.join()
            _running.discard(process)
    reader.join(1)
    code = process.exitcode or 0
    return (STOPPED if _stopped.is_set() else why or _reason(code, last[0])) if code else ""


@contextmanager
def _main() -> Iterator[None]:
    """Let this be the main module: a process imports that of its starter, which may be Prefect's."""
    main, sys.modules["__main__"] = sys.modules["__main__"], sys.modules[__name__]
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def stop_all() -> None:
    """Kill what runs, and start nothing more before `allow`."""
    with _lock:
        _stopped.set()
        for process in _running:
            _kill(process)


def _reason(code: int, last: str) -> str:
    number = -code if code < 0 else code - 128  # as Python or as a shell tells of a signal
    if 0 < number < signal.NSIG:
        return f"its process was killed by signal {number}"
    return last or f"ended with exit code {code}"


def _kill(process: BaseProcess) -> None:
    try:
        os.killpg(int(process.ident or "not started"), signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it ended, or leads no group yet
        process.kill()


def _read(
    receiver: connection.Connection, output: Callable[[str], object], last: list[str]
) -> None:
    with os.fdopen(os.dup(receiver.fileno()), errors="replace") as stream:
        receiver.close()
        for line in filter(str.strip, stream):
            last[0] = line.strip()
            output(line.rstrip())


def _child(
    command: str, folder: str, environment: dict[str, str], sender: connection.Connection
) -> None:
    """Lead a session, and do there what an interpreter or a shell does with the command."""
    os.setsid()
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    gc.freeze()  # the collector would visit all that the libraries hold, and copy its pages
    for stream in (sys.stdout, sys.stderr):
        os.dup2(sender.fileno(), stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sender.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if _MODULE.fullmatch(command):
        return _run_module(*command.split()[2:])
    for line in command.splitlines():
        code = subprocess.call(line, shell=True, executable=environment.get("SHELL"))
        if code:
            sys.exit(128 - code if code < 0 else code)


def _run_module(module: str, *arguments: str) -> None:
    sys.argv = [module, *arguments]
    sys.path.insert(0, os.getcwd())
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _end_with_the_starter() -> None:
    multiprocessing.parent_process().join()  # type: ignore[union-attr]
    os.killpg(0, signal.SIGKILL)
