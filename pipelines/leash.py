"""Processes that end with the process that started them, however that one ends.

The starter holds one end of a pipe, the child's standard input the other. When the starter lets go
or is gone, killed or not, the pipe closes and the child takes down its whole session: first with
SIGTERM, so that DVC gives its locks back once its command has ended, then with SIGKILL.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

_SECONDS_TO_TIDY_UP = 2.0
SECONDS_TO_END = 2 * _SECONDS_TO_TIDY_UP
"""How long a process that was let go may take; then it is killed."""


def start(
    module: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    output: int | IO[str] = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start ``python -m module`` as the leader of its own session, on a leash.

    Args:
        module: A module that calls `hold` first.
        *arguments: Its command line.
        environment: Variables on top of this process's own.
        output: Where standard output and error go, together.

    Returns:
        The process. When it ends, whatever is left of its session is killed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, **search_paths(), "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    threading.Thread(target=_sweep, args=(process,), daemon=True).start()
    return process


def search_paths() -> dict[str, str]:
    """Return variables with this project first for imports, and this Python first for commands."""
    first = {
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "PATH": str(Path(sys.executable).parent),  # an environment need not be activated
    }
    return {
        name: os.pathsep.join(filter(None, (folder, os.environ.get(name))))
        for name, folder in first.items()
    }


def _sweep(process: subprocess.Popen[str]) -> None:
    process.wait()
    kill_session(process.pid)


def end(process: subprocess.Popen[str]) -> None:
    """Let go of the process, wait for it, and close its pipes."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def kill_session(leader: int) -> None:
    """Kill whatever there is of a process's session."""
    _signal_session(leader, signal.SIGKILL)


def _signal_session(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended already
        os.killpg(leader, number)


def hold() -> None:
    """Tie this process, the leader of its session, to the one that started it.

    A SIGTERM, too, ends the whole session and not the leader alone.

    Raises:
        RuntimeError: It was not started by `start`: the signals would reach other processes.
    """
    if os.getpgrp() != os.getpid():
        raise RuntimeError("a process on a leash must lead its own session: use `leash.start`")
    leash = os.dup(0)  # not inherited by the commands that this process runs
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    closing = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: closing.set())

    def watch() -> None:
        while os.read(leash, 1):
            pass
        closing.set()

    def close() -> None:
        closing.wait()
        _signal_session(0, signal.SIGTERM)  # this process stays, to tidy up
        time.sleep(_SECONDS_TO_TIDY_UP)
        _signal_session(0, signal.SIGKILL)

    for work in (watch, close):
        threading.Thread(target=work, daemon=True).start()
