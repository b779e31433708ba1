"""One stage as one ``dvc repro -s`` process that never outlives the flow."""

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pipelines import fast_yaml, leash

# What DVC says about itself, at the start of a line; the rest is the stage's own output.
_CHATTER = (
    "Data and pipelines are up to date",
    "ERROR: failed to reproduce",
    "Generating lock file",
    "To enable auto staging",
    "To track the changes",
    "Updating lock file",
    "Use `dvc push`",
    "WARNING: Process '",
    "\tdvc config",
    "\tgit add",
)
_UNCHANGED = "didn't change, skipping"
_RESTORED = "is cached - skipping run"


@dataclass(frozen=True)
class Result:
    """How ``dvc repro -s`` of one stage ended: ran, restored, unchanged, failed or stopped."""

    how: str
    last_line: str = ""


class _Running:
    """The stage processes of this flow, so that all of them can be stopped from its main thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def start(self, stage: str, threads: int) -> subprocess.Popen[str] | None:
        with self._lock:
            if self.stopped:
                return None
            process = leash.start(
                "pipelines.dvc_process",
                *("repro", "--single-item", stage),
                environment={"OMP_NUM_THREADS": str(threads)},
            )
            self._processes.add(process)
            return process

    def end(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._processes.discard(process)
        leash.end(process)

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            for process in self._processes:
                leash.let_go(process)

    def allow(self) -> None:
        with self._lock:
            self.stopped = False


_running = _Running()
allow = _running.allow
stop_all = _running.stop


def stopped() -> bool:
    """Return whether `stop_all` was called since the last `allow`."""
    return _running.stopped


def reproduce(stage: str, threads: int, log: Callable[[str], object]) -> Result:
    """Bring one stage up to date: ``dvc --wait-for-lock repro --single-item STAGE``.

    Args:
        stage: The stage's address, for example ``train@mnist-mlp``.
        threads: OMP_NUM_THREADS of its command; DVC does not hash it.
        log: Called with each line of output.

    Returns:
        The way it ended; a failed stage's last line of output says why.
    """
    process = _running.start(stage, threads)
    if process is None:
        return Result("stopped")
    how, last_line = "ran", ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.strip() or line.startswith(_CHATTER):
                continue
            log(line.rstrip())
            how = "unchanged" if _UNCHANGED in line else "restored" if _RESTORED in line else how
            last_line = line.strip()
        process.wait()
    finally:
        _running.end(process)
    if _running.stopped:
        return Result("stopped")
    return Result("failed", last_line) if process.returncode else Result(how)


def main() -> int:
    """Run ``dvc --wait-for-lock ARGUMENTS`` on the leash of the process that started it."""
    leash.hold()
    import dvc.lock
    from dvc.cli import main as dvc_main

    # DVC looks for a free lock six times in this span: 50 ms between two looks instead of 500.
    dvc.lock.DEFAULT_TIMEOUT = 0.3
    fast_yaml.install()
    return int(dvc_main(["--wait-for-lock", *sys.argv[1:]]))


if __name__ == "__main__":
    sys.exit(main())
