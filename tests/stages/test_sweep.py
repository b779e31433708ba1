"""examples/sweep.py in a throw-away copy of the project: experiments to a plot."""

import subprocess
import sys

import pytest

from tests.stages.workspace import ROOT

VALUES = (0.001, 10.0)


@pytest.mark.slow
def test_a_sweep_ends_in_a_plot(repository):
    words = [sys.executable, str(ROOT / "examples/sweep.py"), "mnist-lr", "gauss-newton-2"]
    done = subprocess.run(
        [*words, *map(str, VALUES)],
        cwd=repository.folder,
        env=repository.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(": LDS ")[0] for line in lines] == ["damping 0.001", "damping 10"]
    weak, strong = (float(line.rpartition(" ")[2]) for line in lines)
    assert weak != strong, "the damping matters"
    assert (repository.folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
