"""The command line, as a process of its own: exit codes, kills, and what is left behind."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.pipelines import toy

FOREVER = "touch started-${item}; sleep 600"


@pytest.fixture
def repository(tmp_path):
    return toy.make(tmp_path, FOREVER)


@pytest.fixture
def settings(tmp_path):
    return toy.make_settings(tmp_path)


def at_work(repository):
    """Start a run and wait until the stages that would never end are running."""
    process = toy.start(repository)
    toy.wait_until(lambda: len(list(repository.glob("started-*"))) == 2)
    return process


def assert_nothing_is_left(repository, seconds=5):
    toy.wait_until(lambda: not toy.processes(repository), seconds=seconds)


def counts(output):
    return [int(number) for number in re.findall(r"(\d+) (?:ran|restored|up to date)", output)]


@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_the_same_bytes_as_plain_dvc(settings, tmp_path_factory):
    plain = toy.make_settings(tmp_path_factory.mktemp("plain"))
    toy.dvc(plain, "repro")
    (settings / "hold-third").touch()
    process = toy.start(settings)
    done = 2 * (1 + 2 + 2)  # of each setting: data, two solves, two scores
    entries = ".dvc/cache/runs/*/*/" + 64 * "?"  # not the temporary name that one is written under
    toy.wait_until(lambda: len(list(settings.glob(entries))) == 1 + done)  # and code
    process.kill()
    process.wait()
    assert_nothing_is_left(settings)
    assert not (settings / "settings/a/dvc.lock").exists()
    (settings / "hold-third").unlink()
    code, output = toy.run(settings)
    assert code == 0, output
    ran, restored, same = counts(output)
    assert (ran, restored, same) == (toy.COUNT - done - 1, done + 1, 0)
    assert toy.records(settings) == toy.records(plain)
    toy.assert_plain_dvc_agrees(settings)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_takes_the_stages_down_and_keeps_what_ended(repository, number):
    process = at_work(repository)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert_nothing_is_left(repository)
    output = (repository / "log").read_text()
    assert output.endswith("Interrupted. What was finished is kept: run it again to go on.\n")
    assert "Traceback" not in output
    assert "source" in (repository / "dvc.lock").read_text()


@pytest.mark.slow
def test_another_run_is_refused_in_one_line(repository):
    process = at_work(repository)
    assert toy.start_module(repository, "second", "pipelines.benchmark", "other").wait(60) == 1
    text = (repository / "second").read_text()
    assert text.count("\n") == 1 and f"PID {process.pid}" in text
    with pytest.raises(subprocess.CalledProcessError) as refused:
        toy.dvc(repository, "repro", "other")
    assert "Unable to acquire lock" in refused.value.stderr
    process.kill()
    process.wait()
    assert_nothing_is_left(repository)


@pytest.mark.slow
def test_a_failed_stage_is_exit_code_1_and_nothing_to_do_needs_no_server(repository, monkeypatch):
    toy.rewrite(repository, "exit 3")
    code, output = toy.run(repository, "half@left")
    assert code == 1
    assert "failed: half@left: ended with exit code 3" in output

    home = repository / "home"
    monkeypatch.setenv("PREFECT_HOME", str(home))
    start = time.monotonic()
    code, output = toy.run(repository, "source")
    assert (code, output) == (0, "All 1 stages are up to date.\n")
    assert time.monotonic() - start < 10
    assert not home.exists(), "a Prefect server was started"


def test_what_comes_first_stops_the_run_in_one_line(settings):
    (settings / "tool.py").write_text("raise SystemExit('params.yaml: scale must be a number')\n")
    start = time.monotonic()
    assert toy.run(settings) == (1, "code failed: params.yaml: scale must be a number\n")
    assert time.monotonic() - start < 10
    assert not (settings / ".prefect").exists()


def test_a_wrong_number_of_workers_is_refused(repository):
    code, output = toy.run(repository, "--workers", "0")
    assert code == 2
    assert "must be a whole number from 1 on, got '0'" in output


def test_a_runner_that_is_not_installed_is_one_line():
    from pipelines import runners

    for package in ("dask", "ray"):
        try:
            __import__(f"prefect_{package}")
        except ImportError:
            with pytest.raises(runners.RunnerError, match=f"install prefect-{package}"):
                runners.task_runner(package, 1, None).__enter__()


@pytest.mark.slow
def test_a_terminal_shows_one_view_and_nothing_of_dvcs_own(repository):
    toy.rewrite(repository, "sleep 1; cp source.txt ${item}.txt")
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.benchmark"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(toy.ROOT), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    ) as process:
        os.close(slave)
        shown = b""
        with suppress(OSError):  # the other end is closed
            while part := os.read(master, 4096):
                shown += part
    os.close(master)
    text = shown.decode()
    assert process.returncode == 0, text
    for words in ("of 5", "half@left", " left", "5 ran"):
        assert words in text
    assert not [words for words in ("Collecting", "Checking", "Committing", "%") if words in text]
