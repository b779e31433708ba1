import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from headwater.benchmark.retraining import Job, draw_subsets, train_many
from headwater.benchmark.retraining.many import _in_stacks
from headwater.benchmark.settings import get_setting
from headwater.benchmark.training import train_model

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 784, generator=generator)
    return inputs, torch.randint(0, 10, (200,), generator=generator)


@pytest.fixture(scope="module")
def jobs():
    return [Job(i, 10 + i, mask) for i, mask in enumerate(draw_subsets(200, 0.5, 4, seed=0))]


@pytest.fixture(scope="module")
def expected(samples, jobs):
    setting = get_setting("mnist-lr")
    return [train_model(setting, *samples, job.seed, job.subset)[0].state for job in jobs]


def assert_close(found, wanted, tolerance):
    assert found.keys() == wanted.keys()
    for name, values in found.items():
        torch.testing.assert_close(values, wanted[name], rtol=tolerance, atol=tolerance)


def test_processes_find_a_setting_by_its_import_path(
    samples, jobs, expected, tmp_path, monkeypatch
):
    (tmp_path / "a_setting_of_mine.py").write_text(
        "import dataclasses\nfrom headwater.benchmark.settings import get_setting\n"
        "MINE = dataclasses.replace(get_setting('mnist-lr'), name='mine')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    ((_, (checkpoint,)),) = train_many("a_setting_of_mine:MINE", *samples, jobs[:1], workers=1)
    assert_close(checkpoint.state, expected[0], 1e-5)


def test_processes_give_what_one_process_gives(samples, jobs, expected):
    found = {job.index: checkpoints for job, checkpoints in train_many("mnist-lr", *samples, jobs)}
    assert found.keys() == {0, 1, 2, 3}
    for index, (checkpoint,) in found.items():
        assert_close(checkpoint.state, expected[index], 1e-5)


def test_processes_keep_the_epochs_that_are_asked_for(samples):
    jobs = [Job(0, 1, epochs=(2, 3)), Job(1, 1, epochs=(1, -1)), Job(2, 1, epochs=(3,))]
    found = {job.index: checkpoints for job, checkpoints in train_many("mnist-lr", *samples, jobs)}
    assert [c.epoch for c in found[0]] == [2, 3]
    assert [c.epoch for c in found[1]] == [1, 20]
    assert_close(found[0][1].state, found[2][0].state, 0.0)


def test_epochs_after_the_end_are_refused_before_anything_is_trained(samples):
    with pytest.raises(ValueError, match=r"the end of mnist-lr after 20, got \[21\]"):
        next(train_many("mnist-lr", *samples, [Job(0, 1), Job(1, 1, epochs=(21,))]))


def test_stacks_give_what_one_process_gives(samples, jobs, expected):
    whole = Job(9, 3)
    found = list(_in_stacks(get_setting("mnist-lr"), *samples, [*jobs, whole], models_at_once=3))
    assert sorted(job.index for job, _ in found) == [0, 1, 2, 3, 9]
    for job, (checkpoint,) in found:
        if job is not whole:
            assert_close(checkpoint.state, expected[job.index], 1e-4)


def test_failure_names_the_job_and_ends_the_workers(samples):
    inputs, labels = samples
    with pytest.raises(FloatingPointError, match="must stay finite") as caught:
        list(train_many("mnist-lr", inputs * torch.nan, labels, [Job(7, 1)], workers=1))
    assert caught.value.__notes__ == ["in job 7, seed 1"]
    assert living_children(psutil.Process()) == []


def test_closing_the_iterator_ends_the_workers(samples):
    many = [Job(i, i) for i in range(100)]
    iterator = train_many("mnist-lr", *samples, many, workers=2)
    next(iterator)
    assert len(living_children(psutil.Process())) == 2
    started = time.monotonic()
    iterator.close()
    assert living_children(psutil.Process()) == []
    assert time.monotonic() - started < 5


SCRIPT = """
import torch
from headwater.benchmark.retraining import Job, train_many

if __name__ == "__main__":
    x, y = torch.randn(500, 784), torch.randint(0, 10, (500,))
    jobs = [Job(i, i) for i in range(50)]
    for _ in train_many("mnist-mlp", x, y, jobs, workers=2):
        print("one", flush=True)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script)], cwd=ROOT, env=environment(), stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout.readline() == b"one\n"
        workers = living_children(psutil.Process(parent.pid))
        assert len(workers) == 2
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def living_children(process):
    """Worker processes; the resource tracker of multiprocessing is none."""
    return [
        child
        for child in process.children()
        if child.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(child.cmdline())
    ]
