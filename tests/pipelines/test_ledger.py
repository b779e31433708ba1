"""DVC's side of a run: the graph, what is said when it cannot be read, and what is recorded."""

import os
import re
import subprocess
import sys

import pytest

from pipelines import ledger
from pipelines.ledger import Ledger
from tests.pipelines import toy


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # DVC gives addresses relative to the current folder
    return toy.make(tmp_path)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return toy.make_settings(tmp_path)


def todo(*targets):
    with Ledger(targets) as book:
        return set(book.todo())


def run(book, name):
    """What the flow does with a stage whose needs are done, one after the other."""
    if not book.is_changed(name):
        return "spared"
    if book.restore(name):
        return "restored"
    stage = book.stages[name]
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    for line in stage.command.splitlines():
        subprocess.run(
            line, shell=True, check=True, cwd=stage.folder, env={**os.environ, "PATH": path}
        )
    book.record(name)
    return "ran"


def run_all():
    with Ledger() as book:
        return {name: run(book, name) for name in book.stages}


def test_stages_needs_and_hints(repository):
    with Ledger() as book:
        stages = book.stages
    names = list(stages)
    assert sorted(names) == ["half@left", "half@right", "other", "source", "whole"]
    assert all(names.index(need) < names.index(n) for n, s in stages.items() for need in s.needs)
    assert stages["whole"].needs == ("half@left", "half@right")
    assert stages["whole"].alone and not stages["source"].alone
    assert stages["half@left"].tags == ("cpu",)
    assert stages["half@left"].retries == 1
    assert stages["half@left"].folder == str(repository)


def test_targets_are_stages_groups_outs_and_files_with_what_they_need(settings):
    def names(*targets):
        with Ledger(targets) as book:
            return set(book.stages)

    data, solve = "settings/a/dvc.yaml:data", "settings/a/dvc.yaml:solve@first"
    assert len(names()) == toy.COUNT
    assert names(solve) == {data, solve, "code"}
    assert names("solve-a-first.txt") == {data, solve, "code"}
    group = {f"settings/a/dvc.yaml:solve@{name}" for name in toy.METHODS}
    assert names("settings/a/dvc.yaml:solve") == {data, "code", *group}
    assert len(names("settings/a/dvc.yaml")) == 2 + 2 * len(toy.METHODS)
    assert names("code") == {"code"}


def test_the_device_is_a_parameter_of_the_stage(settings):
    (settings / "settings/b/setting.yaml").write_text("setting: b\nsize: 3\ndevice: cuda\n")
    with Ledger() as book:
        assert book.stages["settings/a/dvc.yaml:solve@first"].device == "cpu"
        assert book.stages["settings/b/dvc.yaml:solve@first"].device == "cuda"
        assert book.stages["settings/b/dvc.yaml:data"].device == ""


def test_what_may_have_to_run_is_what_changed_and_all_that_depends_on_it(repository):
    assert len(todo()) == 5
    toy.dvc(repository, "repro")
    assert todo() == set()
    (repository / "left.txt").unlink()
    assert todo() == {"half@left", "whole"}
    assert todo("half@right") == set()
    (repository / "seed").write_text("2\n")
    assert todo() == {"source", "half@left", "half@right", "whole"}


def test_the_first_stages_run_before_it_is_asked_what_changed(settings):
    with Ledger() as book:
        assert len(book.todo()) == toy.COUNT - 1
        assert book.ended == {"code": "ran"}
    run_all()
    (settings / "library").write_text("1 \n")
    with Ledger() as book:
        assert book.todo() == {}, "code.txt came out as it was"
        assert book.ended == {"code": "ran"}
    (settings / "tool.py").write_text("raise SystemExit('params.yaml: no')\n")
    (settings / "library").write_text("2\n")
    assert message() == "code failed: params.yaml: no"


def message(*targets):
    with pytest.raises(ledger.LedgerError) as caught:
        todo(*targets)
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


def test_another_ledger_is_named(repository):
    code = "from pipelines.ledger import Ledger\nwith Ledger(): print(1, flush=True), input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(toy.ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    other.stdout.readline()
    assert re.fullmatch(f"another run is at work.* PID {other.pid}", message())
    other.communicate(b"\n")
    assert len(todo()) == 5


def test_a_plain_dvc_that_runs_any_stage_is_named(repository):
    toy.rewrite(repository, "touch started; sleep 600")
    other = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "half@left"], start_new_session=True
    )
    toy.wait_until((repository / "started").exists)
    assert re.match(rf"another run is at work.*\(PID {other.pid}\): .*repro", message("other"))
    os.killpg(other.pid, 9)
    other.wait()


def test_the_same_records_as_plain_dvc_and_as_few_stages_run(settings, tmp_path_factory):
    plain = toy.make_settings(tmp_path_factory.mktemp("plain"))
    edits = [
        lambda folder: None,
        lambda folder: (folder / "params.yaml").write_text(
            "methods:\n  first: {scale: 7}\n  new: {scale: 1}\n  third: {scale: 5}\n"
        ),
        lambda folder: (folder / "library").write_text("2\n"),
        lambda folder: (folder / "data/a.txt").unlink(),
        lambda folder: (folder / "report.txt").unlink(),
    ]
    for edit in edits:
        edit(settings), edit(plain)
        said = toy.dvc(plain, "repro")
        how = run_all()
        assert {n for n, h in how.items() if h == "ran"} == set(
            re.findall("Running stage '(.*)'", said)
        )
        assert {n for n, h in how.items() if h == "restored"} == set(
            re.findall("Stage '(.*)' is cached - skipping run", said)
        )
        assert toy.records(settings) == toy.records(plain)
    toy.assert_plain_dvc_agrees(settings)


def test_a_frozen_stage_is_recorded_as_it_is(repository, tmp_path_factory):
    plain = toy.make(tmp_path_factory.mktemp("plain"))
    for folder in (repository, plain):
        toy.dvc(folder, "repro")
        text = (
            (folder / "dvc.yaml").read_text().replace("  other:\n", "  other:\n    frozen: true\n")
        )
        (folder / "dvc.yaml").write_text(text)
        (folder / "other.txt").unlink()
        (folder / "other.txt").write_text("mine\n")
    toy.dvc(plain, "repro")
    assert run_all()["other"] == "restored"
    assert (repository / "other.txt").read_text() == "mine\n"
    assert toy.records(repository) == toy.records(plain)


def test_a_stage_is_spared_when_what_it_needs_made_the_same_outs(repository):
    run_all()
    toy.rewrite(repository, "cat source.txt > ${item}.txt")
    how = run_all()
    assert how == dict.fromkeys(how, "spared") | {"half@left": "ran", "half@right": "ran"}
    toy.assert_plain_dvc_agrees(repository)


def test_what_was_edited_while_its_stage_ran_is_not_recorded(repository):
    with pytest.raises(ledger.LedgerError, match="edited while it ran"), Ledger() as book:
        assert not book.restore("source")
        (repository / "source.txt").write_text("1\n")
        (repository / "seed").write_text("2\n")
        book.record("source")
    assert not list((repository / ".dvc/cache").rglob("runs"))
    assert run_all()["source"] == "ran"
    assert (repository / "source.txt").read_text() == "2\n"


def test_a_stage_that_does_not_make_its_outs_is_refused(repository):
    with pytest.raises(ledger.LedgerError, match=r"source\.txt.*does not exist"), Ledger() as book:
        book.restore("source")
        book.record("source")


def test_what_ended_is_recorded_whatever_happens_then(repository):
    with pytest.raises(KeyboardInterrupt), Ledger() as book:
        run(book, "source")
        raise KeyboardInterrupt
    assert "source" in (repository / "dvc.lock").read_text()
    assert run_all()["source"] == "spared"
