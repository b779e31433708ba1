"""One stage as one ``dvc repro -s`` process that never outlives the flow."""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import fast_yaml, leash, lock_file, warm

# What DVC says about itself, at the start of a line; the rest is the stage's own output.
_CHATTER = re.compile(
    r"Data and pipelines are up to date|ERROR: failed to reproduce .*: failed to run: |"
    r"Generating lock file|To enable auto staging|To track the changes|Updating lock file|"
    r"Use `dvc push`|WARNING: Process '|\tdvc config|\tgit add"
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
        self._processes: set[warm.Process] = set()
        self.stopped = False

    def start(self, stage: str, threads: int) -> warm.Process | None:
        with self._lock:
            if self.stopped:
                return None
            process = warm.Process(
                main, ("repro", "--single-item", stage), {"OMP_NUM_THREADS": str(threads)}
            )
            self._processes.add(process)
            return process

    def end(self, process: warm.Process) -> int:
        with self._lock:
            self._processes.discard(process)
        return process.end()

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
            for process in self._processes:
                process.let_go()

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
        for line in process.output:
            if not line.strip() or _CHATTER.match(line):
                continue
            log(line.rstrip())
            how = "unchanged" if _UNCHANGED in line else "restored" if _RESTORED in line else how
            last_line = line.strip()
    finally:
        code = _running.end(process)
    if _running.stopped:
        return Result("stopped")
    return Result("failed", last_line) if code else Result(how)


def main(arguments: Sequence[str]) -> int:
    """Run ``dvc --wait-for-lock ARGUMENTS`` on the leash of the process that started this one."""
    runner = warm.ModuleRunner()
    leash.hold()
    import dvc.lock
    from dvc.cli import main as dvc_main

    # DVC looks for a free lock six times in this span: 50 ms between two looks instead of 500.
    dvc.lock.DEFAULT_TIMEOUT = 0.3
    fast_yaml.install()
    lock_file.install()
    _run_stages_by(runner)
    return int(dvc_main(["--wait-for-lock", *arguments]))


def _run_stages_by(runner: warm.ModuleRunner) -> None:
    """Let DVC run the command of a stage in a process that has its libraries already."""
    from dvc.stage import run
    from dvc.stage.exceptions import StageCmdFailedError

    in_a_shell = run._run

    def run_command(executable: str | None, command: str, **options: Any) -> None:
        if not runner.takes(command, options["env"]["PATH"]):
            in_a_shell(executable, command, **options)
        elif code := runner.run(command, options["cwd"], options["env"]):
            raise StageCmdFailedError(command, code)

    run._run = run_command
