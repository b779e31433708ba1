"""What is read from DVC, and what is said when it cannot be."""

import json
import os
import subprocess
import sys

import pytest

from pipelines import graph
from tests.pipelines import toy


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # DVC gives addresses relative to the current folder
    return toy.make(tmp_path)


def reproduce(folder, *names):
    subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *names], cwd=folder, check=True, capture_output=True
    )


def stale(*targets):
    return {name for name, stage in graph.load(targets).items() if stage.stale}


def test_stages_needs_and_hints(repository):
    stages = graph.load()
    names = list(stages)
    assert sorted(names) == ["half@left", "half@right", "other", "source", "whole"]
    assert all(names.index(need) < names.index(n) for n, s in stages.items() for need in s.needs)
    assert stages["whole"].needs == ("half@left", "half@right")
    assert stages["whole"].alone and not stages["source"].alone
    assert stages["half@left"].tags == ("cpu",)
    assert stages["half@left"].retries == 1


def test_a_target_brings_all_that_it_needs_and_no_more(repository):
    assert set(graph.load(["half@left"])) == {"source", "half@left"}
    assert set(graph.load(["half"])) == {"source", "half@left", "half@right"}


def test_stale_is_what_changed_and_all_that_depends_on_it(repository):
    assert len(stale()) == 5
    reproduce(repository)
    assert stale() == set()
    (repository / "left.txt").unlink()
    assert stale() == {"half@left", "whole"}
    assert stale("half@right") == set()
    (repository / "seed").write_text("2\n")
    assert stale() == {"source", "half@left", "half@right", "whole"}


def message(*targets):
    with pytest.raises(graph.GraphError) as caught:
        graph.load(targets)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_missing_dependency_is_named_with_its_stage(repository):
    (repository / "seed").unlink()
    assert message().startswith("source needs seed, which no stage makes")


def test_an_unknown_target_is_named(repository):
    assert "nonsense" in message("nonsense")


def test_broken_yaml_is_one_line(repository):
    (repository / "dvc.yaml").write_text("stages: [")
    assert "dvc.yaml" in message()


def test_a_folder_without_a_repository_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "DVC" in message()


def test_another_run_at_work_is_named(repository, monkeypatch):
    monkeypatch.setattr(graph, "_SECONDS_TO_UNLOCK", 0.0)
    holder = {"pid": os.getppid(), "cmd": "dvc repro"}
    lock = {"write": {str(repository / "left.txt"): holder}, "read": {}}
    (repository / ".dvc/tmp").mkdir(exist_ok=True)
    (repository / ".dvc/tmp/rwlock").write_text(json.dumps(lock))
    text = message()
    assert text.startswith("another run is at work")
    assert str(os.getppid()) in text
