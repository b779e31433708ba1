"""What the plan prints, of the tests' configuration."""

import json
import shutil

import pytest
import yaml

from pipelines import plan
from tests.stages.test_budget import TIGHT
from tests.stages.workspace import ROOT


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder with the tests' configuration and a budget that leaves out one method."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    params = yaml.safe_load((ROOT / "tests/stages/params.yaml").read_text()) | {"budget": TIGHT}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "settings/mnist-lr").mkdir(parents=True)
    shutil.copy2(ROOT / "settings/mnist-lr/dvc.yaml", tmp_path / "settings/mnist-lr")
    return tmp_path


def test_the_tables_show_what_is_taken_and_what_does_not_fit(repository, capsys):
    assert plan.main([]) == 0
    shown = capsys.readouterr().out
    for words in ("mnist-lr", "gradients", "retrain", "in all", "method if-cg", "what to change",
                  "needs 2 minutes, the budget has 1", "or more minutes", "that are free"):  # fmt: skip
        assert words in shown
    assert not (repository / "artifacts").exists()


def test_json_has_the_figures_of_every_run(repository, capsys):
    assert plan.main(["mnist-lr", "--json"]) == 0
    (runs,) = json.loads(capsys.readouterr().out).values()
    by = {(run["stage"], run["key"], run["problem"]): run for run in runs}
    assert by["gradients", "loss", "clean"]["disk"] == 3 * 300 * 3184
    assert by["train", "clean", ""]["seconds"] > 0
    assert by["solve", "if-cg", ""]["left_out"] == "needs 2 minutes, the budget has 1"
    assert by["solve", "trak-3", ""]["left_out"] == ""


@pytest.mark.parametrize(
    ("arguments", "edit", "message"),
    [
        (["mnist-cnn"], {}, "SETTING must be one of mnist-lr, got 'mnist-cnn'"),
        (
            [],
            {"budget": {**TIGHT, "memory": "20 bananas"}},
            "budget.memory: a budget must be a positive",
        ),
        ([], {"budget": {**TIGHT, "tape": 3}}, "budget.tape: unknown key"),
        ([], {"seed": "one"}, "seed"),
    ],
)
def test_every_error_is_one_line(repository, capsys, arguments, edit, message):
    path = repository / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | edit))
    assert plan.main(arguments) == 1
    found = capsys.readouterr()
    assert message in found.err
    assert found.err.count("\n") == 1
    assert not found.out


def test_no_file_is_one_line(repository, capsys):
    (repository / "params.yaml").unlink()
    assert plan.main([]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_help_says_what_it_does(capsys):
    with pytest.raises(SystemExit) as ended:
        plan.main(["--help"])
    assert ended.value.code == 0
    assert "SETTING" in capsys.readouterr().out


def test_training_uses_all_cores_and_the_rest_runs_side_by_side():
    runs = [
        plan.Planned(plan.Needs(stage), seconds)
        for stage, seconds in [("train", 10.0), ("solve", 6.0), ("score", 2.0)]
    ]
    assert plan.wall(runs, 2) == 10 + 8 / 2
