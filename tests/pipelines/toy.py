"""A small DVC repository whose stages are shell lines, and the flow as a process in it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]

GRAPH = """\
stages:
  source:
    cmd: cat seed > source.txt
    deps: [seed]
    outs: [source.txt]
  half:
    foreach: [left, right]
    do:
      cmd: {half}
      deps: [source.txt]
      outs: ["${{item}}.txt"]
      meta: {{tags: [{tag}], retries: 1}}
  whole:
    cmd: cat left.txt right.txt > whole.txt; echo $OMP_NUM_THREADS > threads
    deps: [left.txt, right.txt]
    outs: [whole.txt]
    meta: {{cores: all}}
  other:
    cmd: echo other > other.txt
    outs: [other.txt]
"""
COPY = "cp source.txt ${item}.txt"


def make(folder: Path, half: str = COPY, tag: str = "cpu") -> Path:
    """Five stages: source -> half@left, half@right -> whole, and other."""
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text((ROOT / ".dvc/config").read_text())
    (folder / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    (folder / "seed").write_text("1\n")
    rewrite(folder, half, tag)
    return folder


def rewrite(folder: Path, half: str, tag: str = "cpu") -> None:
    """Give the two middle stages another command and tag."""
    (folder / "dvc.yaml").write_text(GRAPH.format(half=half, tag=tag))


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the benchmark there, as a user would; its output goes to the file `log`."""
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.benchmark", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - nothing but pytest runs here
        )


def _heed_interrupts() -> None:
    """Take SIGINT as a terminal would send it; a job in the background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run it to its end; return the exit code and the output."""
    code = start(folder, *arguments).wait(100)
    return code, (folder / "log").read_text()


def processes(folder: Path) -> list[psutil.Process]:
    """The living processes, other than this one, that work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and Path(process.cwd()) == folder and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {seconds} seconds"
        time.sleep(0.05)
