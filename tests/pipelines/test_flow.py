"""The flow in this process, on a session-wide Prefect server."""

import os
import sys
import threading
from itertools import pairwise

import pytest

from pipelines import environment
from tests.pipelines import toy

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(tmp_path, monkeypatch, prefect_api):
    monkeypatch.chdir(tmp_path)
    return toy.make(tmp_path)


@pytest.fixture
def settings(tmp_path, monkeypatch, prefect_api):
    monkeypatch.chdir(tmp_path)
    return toy.make_settings(tmp_path)


def reproduce(*targets, workers=2, **options):
    from pipelines import flow

    state = flow.reproduce(list(targets), workers, **options, return_state=True)
    return state.is_completed(), state.message


def test_it_runs_all_then_nothing_then_only_what_changed(repository):
    assert reproduce() == (True, "5 ran, 0 restored, 0 up to date, 0 failed, 0 not run")
    assert (repository / "whole.txt").read_text() == "1\n1\n"
    assert reproduce() == (True, "0 ran, 0 restored, 5 up to date, 0 failed, 0 not run")
    (repository / "seed").write_text("2\n")
    assert reproduce()[1].startswith("4 ran, 0 restored, 1 up to date")
    (repository / "seed").write_text("1\n")  # DVC's run-cache knows this one
    assert reproduce()[1].startswith("0 ran, 4 restored, 1 up to date")
    toy.rewrite(repository, "cat source.txt > ${item}.txt")
    assert reproduce()[1].startswith("2 ran, 0 restored, 3 up to date"), "whole is spared"
    toy.assert_plain_dvc_agrees(repository)


def test_it_leaves_the_same_bytes_as_plain_dvc(settings, tmp_path_factory):
    plain = toy.make_settings(tmp_path_factory.mktemp("plain"))
    toy.dvc(plain, "repro")
    assert reproduce()[1].startswith(f"{toy.COUNT} ran")
    assert toy.records(settings) == toy.records(plain)
    toy.assert_plain_dvc_agrees(settings)


def test_the_cores_are_shared_and_a_stage_alone_has_them_all(repository, monkeypatch):
    monkeypatch.setattr(environment, "cores", lambda: 6)
    toy.rewrite(repository, "echo $OMP_NUM_THREADS > ${item}.txt")
    assert reproduce("whole", workers=3)[0]
    assert (repository / "whole.txt").read_text() == "2\n2\n"
    assert (repository / "threads").read_text() == "6\n"


def test_each_stage_that_wants_a_gpu_has_one_for_itself(settings, monkeypatch):
    monkeypatch.setattr(environment, "gpus", lambda: ["4", "7"])
    for name, device in (("a", "auto"), ("b", "cpu")):
        text = f"setting: {name}\nsize: 3\ndevice: {device}\n"
        (settings / f"settings/{name}/setting.yaml").write_text(text)
    (settings / "tool.py").write_text(
        "import os, sys, time\nprint(os.environ.get('CUDA_VISIBLE_DEVICES'), time.time())\n"
        "time.sleep(0.5)\nprint(time.time())\n"
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert reproduce(workers=4)[0]
    spans = {}
    for path in settings.glob("solve-*.txt"):
        gpu, start, end = path.read_text().split()
        assert (gpu in ("4", "7")) == path.name.startswith("solve-a")
        spans.setdefault(gpu, []).append((float(start), float(end)))
    assert set(spans) == {"4", "7", "None"}
    for gpu in ("4", "7"):
        ordered = sorted(spans[gpu])
        assert all(a[1] <= b[0] for a, b in pairwise(ordered))


def test_a_failure_names_the_stage_and_its_reason_and_the_rest_goes_on(repository):
    fail = "test ${item} = right && cp source.txt right.txt || python -c \"raise OSError('full')\""
    toy.rewrite(repository, fail)
    good, message = reproduce()
    assert not good
    repeat = "(to repeat it: python -m pipelines.benchmark half@left)"
    assert message.splitlines() == [
        "3 ran, 0 restored, 0 up to date, 1 failed, 1 not run",
        f"failed: half@left: OSError: full {repeat}",
        "not run, for lack of half@left: whole",
    ]
    assert (repository / "other.txt").exists() and (repository / "right.txt").exists()
    toy.rewrite(repository, toy.COPY)
    assert reproduce()[1].startswith("3 ran, 0 restored, 2 up to date")
    toy.assert_plain_dvc_agrees(repository)


@pytest.mark.parametrize(
    ("half", "why"),
    [
        ("kill -9 0", "its process was killed by signal 9"),
        ("sleep 600", "took longer than its deadline of 3 s"),
        ("exit 0", "DVC: output 'left.txt' does not exist"),
        ("cp seed left.txt; rm source.txt; echo 7 > source.txt", "edited while it ran"),
    ],
)
def test_what_goes_wrong_is_one_line_and_nothing_is_recorded(repository, half, why):
    toy.rewrite(repository, half)
    good, message = reproduce("half@left", deadline=3)
    assert not good
    assert message.count("\n") == 1, message
    counts, line = message.splitlines()
    assert counts == "1 ran, 0 restored, 0 up to date, 1 failed, 0 not run"
    assert line.startswith("failed: half@left: ") and why in line
    assert "left" not in (repository / "dvc.lock").read_text()
    assert len(list((repository / ".dvc/cache/runs").glob("*/*/*"))) == 1


def test_the_stages_run_in_the_python_of_the_flow(repository, monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)
    toy.rewrite(repository, "python -c 'import sys; print(sys.prefix)' > ${item}.txt")
    assert reproduce("half@left")[0]
    assert (repository / "left.txt").read_text().strip() == sys.prefix


def test_a_stage_with_retries_is_tried_again_as_often_as_it_says(repository):
    toy.rewrite(repository, "echo try >> tries-${item}; test $(wc -l < tries-${item}) = 2 "
                "&& cp source.txt ${item}.txt")  # fmt: skip
    assert reproduce()[0]
    toy.rewrite(repository, "echo try >> more-${item}; exit 1")
    assert not reproduce()[0]
    assert (repository / "more-left").read_text() == "try\ntry\n"


def test_it_tells_the_display_what_happens(repository, monkeypatch):
    from pipelines import flow

    told = []

    class Told:
        def __init__(self, stages, known):
            assert set(stages) == known and len(stages) == 5

        def __enter__(self):
            return self

        def __exit__(self, *_):
            told.append(("closed",))

        def __getattr__(self, what):
            return lambda *values: told.append((what, *values))

    monkeypatch.setattr(flow, "Display", Told)
    toy.rewrite(repository, "echo hello; test ${item} = right && cp source.txt right.txt")
    reproduce()
    assert told[0] == ("plan", ["source", "half@left", "half@right", "whole", "other"], 2)
    assert told[-1] == ("closed",)
    assert ("output", "half@left", "hello") in told
    assert told.index(("begin", "source")) < told.index(("begin", "half@left"))
    ends = {values[1]: values[2:] for values in told if values[0] == "end"}
    assert {name: how for name, (how, *_) in ends.items()} == {
        "source": "ran", "other": "ran", "half@right": "ran", "half@left": "failed",
    }  # fmt: skip
    assert all(seconds > 0 for _, seconds, _ in ends.values())
    assert ends["half@left"][2] == "hello"
    assert threading.active_count() < 50
