"""One workspace in which everything has been made, for all tests and all processes that run them."""

from __future__ import annotations

import os
import subprocess

import pytest
from filelock import FileLock

from tests.stages.workspace import Workspace

__all__ = ["finished"]


def finished(factory: pytest.TempPathFactory) -> tuple[Workspace, subprocess.CompletedProcess[str]]:
    """Return the workspace, made by whoever asks first, and what its run printed.

    It is to be read; copy it before you change it.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, out, err = (shared / "finished" / name for name in ("made", "out.json", "err.txt"))
    folder.parent.mkdir(exist_ok=True)
    with FileLock(shared / "finished.lock"):
        if not err.exists():
            run = Workspace.make(folder).run("pipelines.cli", "run", "--json")
            out.write_text(run.stdout)
            err.write_text(run.stderr)
    texts = out.read_text(), err.read_text()
    return Workspace(folder), subprocess.CompletedProcess((), 0, *texts)
