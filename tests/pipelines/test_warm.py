"""Commands in forked processes behave as commands of a shell do."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipelines import leash, warm
from tests.pipelines import toy

PROGRAM = """\
import os, sys, threading
{imports}
print("out", *sys.argv[1:], os.environ["COLOUR"], os.path.basename(os.getcwd()))
print(sys.path[0] == os.getcwd())
sys.stderr.write(f"error {{__name__}} {{'torch' in sys.modules}}\\n")
{end}
"""
ENDS = ["", "sys.exit(3)", "sys.exit('one line')", "raise OSError('full')", "1 / 0", "os._exit(5)"]


def run_module(arguments):
    """What a stage's process does, without DVC."""
    runner = warm.ModuleRunner()
    leash.hold()
    command, folder = arguments
    assert runner.takes(command, os.environ["PATH"])
    return runner.run(command, folder, {**os.environ, "COLOUR": "red"}) % 256


def _write(folder, end, imports=""):
    (folder / "program.py").write_text(PROGRAM.format(end=end, imports=imports))


def _forked(command, folder):
    process = warm.Process(run_module, (command, str(folder)), {})
    lines = [line.rstrip() for line in process.output]
    return process.end(), lines


def _lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("end", ENDS)
def test_a_module_runs_as_a_shell_would_run_it(tmp_path, end):
    _write(tmp_path, end)
    code, lines = _forked("python -m program a --b=c/d.e", tmp_path)
    shell = subprocess.run(
        [sys.executable, "-u", "-m", "program", "a", "--b=c/d.e"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "COLOUR": "red"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert code == shell.returncode
    expected = shell.stdout.replace("error __main__ False", "error __main__ True").splitlines()
    assert lines[:3] == expected[:3]
    assert lines[-1] == expected[-1]


def test_its_libraries_are_those_it_would_import_and_the_projects_own_are_not_among_them(tmp_path):
    _write(tmp_path, "print(*sys.modules)")
    loaded = set(_forked("python -m program", tmp_path)[1][-1].split())
    assert set(warm.LIBRARIES) <= loaded
    assert not {name for name in loaded if name.split(".")[0] in ("headwater", "stages")}


def test_the_libraries_compute_with_the_threads_of_the_stages(tmp_path):
    _write(tmp_path, "print(torch.get_num_threads())", imports="import torch")
    assert _forked("python -m program", tmp_path)[1][-1] == warm.VARIABLES["OMP_NUM_THREADS"]


def test_what_it_leaves_running_ends_with_it(tmp_path):
    spawn = "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid)"
    _write(tmp_path, spawn)
    code, lines = _forked("python -m program", tmp_path)
    assert code == 0
    toy.wait_until(lambda: not _lives(int(lines[-1])), 10)


def test_letting_go_ends_it(tmp_path):
    _write(tmp_path, "import time; print(os.getpid()); time.sleep(600)")
    process = warm.Process(run_module, ("python -m program", str(tmp_path)), {})
    pid = int(next(line for line in process.output if line.strip().isdecimal()))
    assert process.end() != 0
    toy.wait_until(lambda: not _lives(pid), 10)


def test_many_threads_each_get_their_own_exit_code(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    _write(tmp_path, "sys.exit(int(sys.argv[1]))")
    commands = [f"python -m program {code}" for code in range(12)]
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda command: _forked(command, tmp_path)[0], commands))
    assert codes == list(range(12))


@pytest.mark.parametrize(
    "command",
    [
        "cat a > b",
        "python -c 'pass'",
        "python -m program > log",
        "python -m program 'a b'",
        "python -m program $HOME",
        "python -m program *",
        "python -m program; true",
        "python program.py",
        "FOO=1 python -m program",
    ],
)
def test_what_a_shell_must_see_is_left_to_it(command):
    runner = warm.ModuleRunner.__new__(warm.ModuleRunner)
    runner._pid = 1
    path = str(Path(sys.executable).parent)
    assert not runner.takes(command, path)
    assert runner.takes("python -m program", path)
    assert not runner.takes("python -m program", os.defpath), "another Python"
