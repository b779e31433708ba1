"""What `make status` says, of a real DVC repository with one setting."""

import contextlib
import json
import os
import shutil

import pytest
from dvc.repo import Repo, lock_repo

from pipelines import environment, status

CODE = """\
import hashlib, json, pathlib
closures = {"demo/data": ["src/data.py"], "demo/solve/a": ["src/solve.py", "src/a.py"],
            "demo/solve/b": ["src/solve.py", "src/b.py"]}
for name, files in closures.items():
    path = pathlib.Path("artifacts/code", name + ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    hashes = {f: hashlib.sha256(pathlib.Path(f).read_bytes()).hexdigest()[:16] for f in files}
    path.write_text(json.dumps({**hashes, "numpy": "2.0"}))
"""
ROOT = """\
stages:
  code:
    cmd: python code.py
    deps: [params.yaml, src]
    outs: [artifacts/code]
  report:
    cmd: cat artifacts/solve/demo/a artifacts/solve/demo/b > report.txt
    deps: [artifacts/solve/demo/a, artifacts/solve/demo/b]
    outs: [report.txt: {cache: false}]
"""
SETTING = """\
vars: [../../params.yaml]
stages:
  data:
    wdir: ../..
    cmd: mkdir -p artifacts/data && cat raw > artifacts/data/demo
    deps: [artifacts/code/demo/data.json, raw]
    outs: [artifacts/data/demo]
  solve:
    foreach: ${methods}
    do:
      wdir: ../..
      cmd: mkdir -p artifacts/solve/demo && echo ${key} > artifacts/solve/demo/${key}
      deps: ["artifacts/code/demo/solve/${key}.json", artifacts/data/demo]
      params: [params.yaml: ["methods.${key}"]]
      outs: ["artifacts/solve/demo/${key}"]
      meta: {cores: all}
"""
PARAMS = {"methods": {k: {"solver": {"damping": 0.01, "steps": 5}, "store": "x"} for k in "ab"}}
SECONDS = {"code": 1, "report": 2} | {
    f"settings/demo/dvc.yaml:{name}": s
    for name, s in [("data", 10), ("solve@a", 60), ("solve@b", 70)]
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository in which everything ran."""
    root = tmp_path_factory.mktemp("made")
    for folder in (".dvc", "settings/demo", "src", "results"):
        (root / folder).mkdir(parents=True)
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (root / "code.py").write_text(CODE)
    (root / "dvc.yaml").write_text(ROOT)
    (root / "settings/demo/dvc.yaml").write_text(SETTING)
    (root / "params.yaml").write_text(json.dumps(PARAMS))
    (root / "results/durations.json").write_text(json.dumps(SECONDS))
    (root / "raw").write_text("1\n")
    for name in ("data", "solve", "a", "b", "unused"):
        (root / f"src/{name}.py").write_text(f"# {name}\n")
    with contextlib.chdir(root), Repo() as repo:
        repo.reproduce()
    return root


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    root = tmp_path / "repo"
    shutil.copytree(made, root, symlinks=True)
    monkeypatch.chdir(root)
    monkeypatch.setattr(environment, "workers", lambda: 2)
    monkeypatch.setenv("COLUMNS", "60")
    return root


@pytest.fixture
def ask(root, capsys):
    def ask(*arguments):
        code = status.main(arguments)
        return code, capsys.readouterr().out.splitlines()

    return ask


def edit(params, method="a"):
    with open("params.yaml", "w") as file:
        file.write(json.dumps({"methods": PARAMS["methods"] | {method: params}}))


def remake():
    with Repo() as repo:
        repo.reproduce("code", single_item=True)


def test_nothing_is_stale_after_a_run(ask, root):
    before = (root / "dvc.lock").read_bytes()
    assert ask() == (0, ["Everything is up to date."])
    assert (root / "dvc.lock").read_bytes() == before


def test_a_parameter_is_named_with_both_values(ask):
    edit({"solver": {"damping": 0.02, "steps": 5}, "store": "x"})
    code, lines = ask()
    assert code == 1
    assert lines == [
        "code: params.yaml changed",
        "demo solve@a: parameter methods.a.solver.damping: 0.01 -> 0.02",
        "3 stages, 1 of them only follow others: about 1:03 on 2 slots (from results/durations.json)",
    ]


def test_parameters_that_came_and_went(ask):
    edit({"solver": {"damping": 0.01}, "store": "x", "seed": 0})
    reasons = "methods.a.seed: none -> 0; parameter methods.a.solver.steps: 5 -> none"
    assert f"demo solve@a: parameter {reasons}" in ask()[1]


def test_a_new_method_never_ran(ask):
    edit({"store": "x"}, method="c")
    assert "demo solve@c: never ran" in ask("settings/demo/dvc.yaml")[1]


def test_a_source_is_named_before_stage_code_ran(ask, root):
    (root / "src/a.py").write_text("# edited\n")
    assert ask()[1][:-1] == [
        "code: source src/a.py changed",
        "demo solve@a: source src/a.py changed",
    ]


def test_and_after_it_ran(ask, root):
    (root / "src/solve.py").write_text("# edited\n")
    remake()
    assert ask()[1][:-1] == [f"demo solve@{m}: source src/solve.py changed" for m in "ab"]


def test_a_source_that_is_gone_changed(ask, root):
    (root / "src/a.py").unlink()
    assert "demo solve@a: source src/a.py changed" in ask()[1]


def test_a_source_that_no_stage_imports_makes_only_stage_code_stale(ask, root):
    (root / "src/unused.py").write_text("# edited\n")
    code, lines = ask("-v")
    assert code == 1
    assert lines[:-1] == ["code: src changed"]


def test_an_installed_package_of_another_version(ask, root):
    text = (root / "code.py").read_text()
    (root / "code.py").write_text(text.replace("2.0", "2.1"))
    (root / "src/unused.py").write_text("# edited\n")
    remake()
    assert "demo data: source numpy changed" in ask()[1]


def test_a_file_that_changed_and_what_follows(ask, root):
    (root / "raw").write_text("2\n")
    _, lines = ask()
    assert lines == [
        "demo data: raw changed",
        "4 stages, 3 of them only follow others: about 2:22 on 2 slots (from results/durations.json)",
    ]
    _, lines = ask("--verbose")
    assert lines[1:4] == [
        "demo solve@a: follows demo data",
        "demo solve@b: follows demo data",
        "report: follows demo solve@a, demo solve@b",
    ]


def test_only_what_a_target_needs(ask, root):
    (root / "raw").write_text("2\n")
    assert ask("settings/demo/dvc.yaml:solve@b")[1][-1].startswith("2 stages, 1 ")


def test_a_missing_out_and_a_missing_file(ask, root):
    (root / "artifacts/solve/demo/a").unlink()
    (root / "raw").unlink()
    _, lines = ask()
    assert "demo data: raw is missing" in lines
    assert "demo solve@a: artifacts/solve/demo/a is missing" in lines
    assert not [line for line in lines if line.startswith("report")]


def test_a_command_that_changed(ask, root):
    text = (root / "settings/demo/dvc.yaml").read_text()
    (root / "settings/demo/dvc.yaml").write_text(text.replace("cat raw", "cat  raw"))
    assert ask()[1][0] == "demo data: command changed"


def test_without_its_old_version_only_the_file_of_sources_changed(ask, root):
    for path in (root / ".dvc/cache/files").rglob("*"):
        if path.is_file() and b"src/a.py" in path.read_bytes():
            path.unlink()
    (root / "src/a.py").write_text("# edited\n")
    remake()
    assert "demo solve@a: artifacts/code/demo/solve/a.json changed" in ask()[1]


def test_a_wrong_graph_is_one_line(ask, root):
    (root / "settings/demo/dvc.yaml").write_text("stages: [")
    code, lines = ask()
    assert code == 2
    assert len(lines) == 1
    assert "settings/demo/dvc.yaml" in lines[0]


def test_a_target_that_is_not_there_is_one_line(ask):
    code, lines = ask("nothing")
    assert (code, len(lines)) == (2, 1)


def test_no_repository_is_one_line(ask, tmp_path):
    os.chdir(tmp_path)
    code, lines = ask()
    assert (code, len(lines)) == (2, 1)


def test_a_run_that_is_at_work_is_one_line(ask, root):
    with Repo() as repo, lock_repo(repo):
        code, lines = ask()
    assert (code, len(lines)) == (2, 1)
    assert "lock" in lines[0]


def test_help(ask, capsys):
    with pytest.raises(SystemExit, match="0"):
        ask("--help")
    assert "TARGET" in capsys.readouterr().out
