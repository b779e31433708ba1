"""run, status, plan and report: the same functions as `python -m pipelines.NAME`."""

import json

import pytest

METHODS = {"grad-dot", "if-cg", "gauss-newton-2", "trak-3"}


@pytest.mark.slow
def test_run_says_what_ran_and_prints_json_alone(made):
    record = json.loads(made.shown.stdout)
    assert record["stages"] == len(record["ran"]) > 20
    assert (record["restored"], record["failed"], record["not_run"]) == ([], {}, {})
    assert "stages may have to run" in made.shown.stderr


@pytest.mark.slow
def test_run_again_has_nothing_to_do_and_shows_the_tables(made):
    shown = made.run("pipelines.cli", "run", "mnist-lr").stdout
    assert "stages are up to date" in shown
    assert "gauss-newton-2" in shown
    done = made.run("pipelines.cli", "run", "--json")
    assert json.loads(done.stdout)["ran"] == []


@pytest.mark.slow
def test_a_failed_stage_is_exit_code_1_with_its_reason(changed):
    changed.edit("methods", "if-cg", "solver", "damping", value=1e-12)
    changed.edit("methods", "if-cg", "solver", "damping", value=0.2)
    changed.folder.joinpath("stages/solve.py").write_text("raise ValueError('no')\n")
    done = changed.run(
        "pipelines.cli", "run", "--json", "settings/mnist-lr/dvc.yaml:solve@if-cg", check=False
    )
    assert done.returncode == 1, done.stderr
    record = json.loads(done.stdout)
    assert list(record["failed"]) == ["settings/mnist-lr/dvc.yaml:solve@if-cg"]


def test_run_refuses_what_it_does_not_know(ask, refused):
    assert "must be one of threads, dask, ray, agents" in ask("run", "--on", "moon").err
    assert "nothing" in refused("run", "nothing")


def test_status_is_exit_code_0_when_all_is_well(ask):
    found = ask("status")
    assert (found.code, found.out) == (0, "Everything is up to date.\n")
    found = ask("status", "mnist-lr", "--json")
    assert found.code == 0
    assert (found.record["out_of_date"], found.record["seconds"]) == ({}, 0.0)


def test_status_says_what_changed_and_exits_with_1(ask, changed):
    changed.edit("methods", "if-cg", "solver", "damping", value=0.2)
    found = ask("status", folder=changed.folder)
    assert found.code == 1
    assert "parameter methods.if-cg.solver.damping: 0.1 -> 0.2" in found.out
    found = ask("status", "--json", folder=changed.folder)
    assert found.code == 1 and found.record["seconds"] > 0
    why = found.record["out_of_date"]["settings/mnist-lr/dvc.yaml:solve@if-cg"]["why"]
    assert why == ["parameter methods.if-cg.solver.damping: 0.1 -> 0.2"]


def test_status_of_what_is_not_there_is_one_line(refused):
    assert "nothing" in refused("status", "nothing")


def test_plan_shows_and_has_the_same_as_json(ask, refused):
    found = ask("plan", "mnist-lr", "--json")
    assert found.code == 0
    stages = {run["stage"] for run in found.record["mnist-lr"]}
    assert {"train", "gradients", "solve"} <= stages
    shown = ask("plan")
    assert shown.code == 0 and "in all" in shown.out
    assert "SETTING must be one of mnist-lr, got 'mars'" in refused("plan", "mars")


def test_report_shows_the_table_and_where_the_pages_are(ask, refused):
    found = ask("report")
    assert found.code == 0
    assert all(method in found.out for method in METHODS)
    assert "results/mnist-lr/leaderboard.md" in found.out
    record = ask("report", "mnist-lr", "--json").record
    assert set(record["mnist-lr"]["methods"]) == METHODS
    line = refused("report", "mars")
    assert "settings with results: mnist-lr" in line and "headwater run mars" in line


def test_report_without_results_says_how_to_make_them(refused, tmp_path):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    assert "make them with headwater run" in refused("report", folder=tmp_path)
