"""The flow in this process, on a session-wide Prefect server."""

import os
import sys

import pytest

from tests.pipelines import toy


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return toy.make(tmp_path)


def reproduce(*targets, workers=2):
    from pipelines import flow

    state = flow.reproduce(list(targets), workers, return_state=True)
    return state.is_completed(), state.message


@pytest.mark.slow
def test_it_runs_all_then_nothing_then_only_what_changed(repository, prefect_api):
    assert reproduce() == (
        True,
        "5 ran, 0 restored, 0 unchanged, 0 up to date, 0 failed, 0 not run",
    )
    assert (repository / "whole.txt").read_text() == "1\n1\n"
    assert reproduce() == (
        True,
        "0 ran, 0 restored, 0 unchanged, 5 up to date, 0 failed, 0 not run",
    )
    (repository / "seed").write_text("2\n")
    assert reproduce()[1].startswith("4 ran, 0 restored, 0 unchanged, 1 up to date")
    (repository / "seed").write_text("1\n")  # DVC's run-cache knows this one
    assert reproduce()[1].startswith("0 ran, 4 restored, 0 unchanged, 1 up to date")


@pytest.mark.slow
def test_the_cores_are_shared_and_a_stage_alone_has_them_all(repository, prefect_api, monkeypatch):
    from pipelines import environment

    monkeypatch.setattr(environment, "cores", lambda: 6)
    toy.rewrite(repository, "echo $OMP_NUM_THREADS > ${item}.txt")
    assert reproduce("whole", workers=3)[0]
    assert (repository / "whole.txt").read_text() == "2\n2\n"
    assert (repository / "threads").read_text() == "6\n"


@pytest.mark.slow
def test_a_failure_names_the_stage_and_its_reason_and_the_rest_goes_on(repository, prefect_api):
    fail = "test ${item} = right && cp source.txt right.txt || python -c \"raise OSError('full')\""
    toy.rewrite(repository, fail)
    good, message = reproduce()
    assert not good
    assert message.splitlines() == [
        "3 ran, 0 restored, 0 unchanged, 0 up to date, 1 failed, 1 not run",
        "failed: half@left: OSError: full",
        "not run, for lack of half@left: whole",
    ]
    assert (repository / "other.txt").exists() and (repository / "right.txt").exists()


@pytest.mark.slow
def test_the_stages_run_in_the_python_of_the_flow(repository, prefect_api, monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)
    toy.rewrite(repository, "python -c 'import sys; print(sys.prefix)' > ${item}.txt")
    assert reproduce("half@left")[0]
    assert (repository / "left.txt").read_text().strip() == sys.prefix


@pytest.mark.slow
def test_a_stage_with_retries_is_tried_again(repository, prefect_api):
    toy.rewrite(
        repository,
        "test -e tried-${item} || { touch tried-${item}; exit 1; }; cp source.txt ${item}.txt",
    )
    assert reproduce()[0]
