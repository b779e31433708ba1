"""The command line, as a process of its own: exit codes, kills, and what is left behind."""

import signal
import time

import pytest

from tests.pipelines import toy

FOREVER = "touch started; sleep 600"


@pytest.fixture
def repository(tmp_path):
    return toy.make(tmp_path, FOREVER, tag="gpu")


def at_work(repository):
    """Start a run and wait until a stage that would never end is running."""
    process = toy.start(repository)
    toy.wait_until((repository / "started").exists)
    return process


def assert_nothing_is_left(repository):
    toy.wait_until(lambda: not toy.processes(repository), seconds=10)


@pytest.mark.slow
def test_kill_9_leaves_no_process_and_the_next_run_goes_on(repository):
    process = at_work(repository)
    process.kill()
    process.wait()
    assert_nothing_is_left(repository)
    toy.rewrite(repository, toy.COPY, tag="gpu")  # the killed flow held its only slot
    code, output = toy.run(repository)
    assert code == 0
    assert "3 ran" in output or "4 ran" in output  # `other` may have ended before the kill


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_takes_the_stages_down(repository, number):
    process = at_work(repository)
    process.send_signal(number)
    assert process.wait(60) == 130
    assert_nothing_is_left(repository)
    output = (repository / "log").read_text()
    assert "run it again to go on" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_failed_stage_is_exit_code_1_and_nothing_to_do_needs_no_server(repository, monkeypatch):
    toy.rewrite(repository, "exit 3")
    code, output = toy.run(repository, "half@left")
    assert code == 1
    assert "failed: half@left" in output

    home = repository / "home"
    monkeypatch.setenv("PREFECT_HOME", str(home))
    start = time.monotonic()
    code, output = toy.run(repository, "source")
    assert (code, output) == (0, "All 1 stages are up to date.\n")
    assert time.monotonic() - start < 60, "a Prefect server was started"
    assert not home.exists()


def test_a_wrong_number_of_workers_is_refused(repository):
    code, output = toy.run(repository, "--workers", "0")
    assert code == 2
    assert "must be a whole number from 1 on, got '0'" in output
