"""Commands in fresh processes behave as commands of a shell do, and end with who started them."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from pipelines import fresh
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


@pytest.fixture(autouse=True)
def allow():
    fresh.allow()
    yield
    fresh.allow()


def _write(folder, end, imports=""):
    (folder / "program.py").write_text(PROGRAM.format(end=end, imports=imports))


def _run(command, folder, **options):
    lines = []
    result = fresh.run(command, str(folder), lines.append, {"COLOUR": "red"}, **options)
    return result, lines


def _lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("end", ENDS)
def test_a_module_runs_as_a_shell_would_run_it(tmp_path, end):
    _write(tmp_path, end)
    result, lines = _run("python -m program a --b=c/d.e", tmp_path)
    shell = subprocess.run(
        [sys.executable, "-u", "-m", "program", "a", "--b=c/d.e"],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "COLOUR": "red"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert bool(result) == bool(shell.returncode)
    expected = shell.stdout.replace("error __main__ False", "error __main__ True").splitlines()
    assert lines[:3] == expected[:3]
    assert lines[-1] == expected[-1]
    assert result == (expected[-1] if shell.returncode else "")


def test_without_libraries_it_needs_no_fork_server(tmp_path):
    _write(tmp_path, "")
    lines = _run("python -m program", tmp_path, forked=False)[1]
    assert lines[-1] == "error __main__ False"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("echo a > b; test -s b", ""),
        ("python -c 'import sys; sys.exit(sys.prefix)'", sys.prefix),
        ("FOO=1 python -m program | grep -q nothing", "ended with exit code 1"),
        ("cd /\ntest -e program.py", ""),
        ("exit 4\ntouch never", "ended with exit code 4"),
        ("kill -9 $$", "its process was killed by signal 9"),
        ("kill -9 0", "its process was killed by signal 9"),
    ],
)
def test_any_other_command_runs_in_a_shell_with_this_python(tmp_path, monkeypatch, command, why):
    monkeypatch.setenv("PATH", os.defpath)
    _write(tmp_path, "", imports="sys.stderr = open(os.devnull, 'w')")
    assert _run(command, tmp_path)[0] == why
    assert not (tmp_path / "never").exists()


def test_its_libraries_are_those_it_would_import_and_the_projects_own_are_not_among_them(tmp_path):
    _write(tmp_path, "print(*sys.modules)")
    loaded = set(_run("python -m program", tmp_path)[1][-1].split())
    assert set(fresh.LIBRARIES) <= loaded
    assert not {name for name in loaded if name.split(".")[0] in ("headwater", "stages")}


def test_a_line_is_told_when_it_is_written(tmp_path):
    _write(tmp_path, "import time; print('now'); time.sleep(600)")
    told = threading.Event()

    def hear(line):
        if line == "now":
            told.set()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fresh.run, "python -m program", str(tmp_path), hear, {"COLOUR": "red"})
        assert told.wait(30)
        fresh.stop_all()
        assert future.result(10) == fresh.STOPPED
    assert fresh.run("true", ".") == fresh.STOPPED, "nothing starts after it"


def test_what_it_leaves_running_ends_with_it(tmp_path):
    spawn = "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid)"
    _write(tmp_path, spawn)
    result, lines = _run("python -m program", tmp_path)
    assert result == ""
    toy.wait_until(lambda: not _lives(int(lines[-1])), 10)


@pytest.mark.parametrize(("limit", "why"), [
    ({"deadline": 0.5}, "took longer than its deadline of 0.5 s"),
    ({"wanted": lambda: False}, fresh.STOPPED),
])  # fmt: skip
def test_a_command_that_takes_too_long_or_is_not_wanted_any_more_is_killed(tmp_path, limit, why):
    start = time.monotonic()
    assert _run("sleep 600 & sleep 600", tmp_path, **limit)[0] == why
    assert time.monotonic() - start < 10


WORKERS = """\
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        print(*pool.map(os.getpid, ()), flush=True)
        jobs = [pool.submit(time.sleep, 600) for _ in range(2)]
        time.sleep(1)
        open("started", "w").close()
"""
STARTER = """\
from pipelines import fresh
if __name__ == "__main__":
    fresh.run("python -m workers", ".")
"""


def test_the_whole_group_ends_when_the_starter_is_killed(tmp_path):
    (tmp_path / "workers.py").write_text(WORKERS)
    (tmp_path / "starter.py").write_text(STARTER)
    starter = subprocess.Popen(
        [sys.executable, "-m", "starter"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(toy.ROOT)},
    )
    toy.wait_until((tmp_path / "started").exists)
    assert len(toy.processes(tmp_path)) > 4
    starter.kill()
    starter.wait()
    toy.wait_until(lambda: not toy.processes(tmp_path), seconds=5)


def test_many_threads_each_get_their_own_exit_code(tmp_path):
    _write(
        tmp_path,
        "sys.exit(int(sys.argv[1]))",
        imports="sys.stdout = sys.stderr = open(os.devnull, 'w')",
    )
    commands = [f"python -m program {code}" for code in range(12)]
    with ThreadPoolExecutor(6) as pool:
        whys = list(pool.map(lambda command: _run(command, tmp_path)[0], commands))
    assert whys == ["", *(f"ended with exit code {code}" for code in range(1, 12))]


def test_it_heeds_signals_as_a_command_of_a_shell_does(tmp_path):
    _write(tmp_path, "import signal; print(signal.getsignal(signal.SIGINT).__name__)")
    assert _run("python -m program", tmp_path)[1][-1] == signal.default_int_handler.__name__
