import json
from pathlib import Path

import pytest
import yaml

from benchmarks import measure, synthetic, workflow
from tests.pipelines import toy

BURN = "import time; time.sleep(0.2)\nwhile time.process_time() < 0.5: pass\n"
LEAVE = "import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'burn'])\n"


def graph(stages: int) -> dict:
    seconds = {"cpu": 2.0, "wall": 3.0}
    names = ("status", "dag", "repro", "flow", "explain", "start")
    return {
        **dict.fromkeys(names, seconds),
        "one": {**seconds, "work": 1.5, "above": 0.5},
        "scratch": {**seconds, "work": 1.0, "above": 0.3, "apart": 0.12},
        "stages": stages,
        "entries": {"most": 12, "mean": 7.5},
        "lock_bytes": {"dvc.lock": 1000, "settings/s0/dvc.lock": 90_000},
        "largest_lock_kb": 90.0,
        "artifacts_gb": 11.0,
        "disk_gb": 12.3,
    }


def record(**more) -> dict:
    versions = {"dvc": "3.67.1", "prefect": "3.8.8"}
    graphs = [graph(1200), graph(201)]
    return {"machine": measure.machine(2), "versions": versions, "synthetic": graphs, **more}


def test_the_page_has_what_was_measured() -> None:
    page, result = workflow.PAGE.read_text(), workflow.RESULT
    assert workflow._MARKS.search(page), f"{workflow.PAGE} has no marks for the measurements"
    assert result.exists(), f"{result} is not there: run python -m benchmarks.workflow"
    text = workflow.table(json.loads(result.read_text()))
    assert page == workflow.on_page(page, text)


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = "a\n<!-- measurements: of x -->\nold\nold\n<!-- end of measurements -->\nb\n"
    new = workflow.on_page(page, r"new \1")
    assert new == page.replace("old\nold", r"new \1") == workflow.on_page(new, r"new \1")
    assert workflow.on_page(page.replace("old\nold\n", ""), r"new \1") == new
    with pytest.raises(workflow.Refusal, match="must have the marks"):
        workflow.on_page("a\n", "new")


def test_the_table_sets_each_number_beside_its_target() -> None:
    text = workflow.table(record(real=graph(190)))
    assert "| `dvc status` | 130 s CPU | 2 s CPU | 3 s | 15 s CPU | yes |" in text
    assert "above its work | 22 s wall | 0.5 s CPU | 3 s | 5 s CPU | yes |" in text
    assert "| entries a stage at most | 42 | 12 | – | 10 | no |" in text
    assert "| the largest `dvc.lock` | 2,400 kB | 90 kB | – | 250 kB | yes |" in text
    assert "| `make status` | – | 2 s CPU | 3 s | – | – |" in text
    assert (
        "201 synthetic stages | 0.37 s CPU, 193 stages | 0.3 s CPU | 3 s | 0.25 s CPU | no |"
        in text
    )  # not that of 1,200
    assert "| 1,200 of 10 | 1,800 kB | 34.7 s | 12.2 s | 17.7 s | – | – | – |" in text
    assert "| **1,200** in 2 files | 90 kB | 2 s | 2 s | 2 s | 2 s | 2 s | 0.3 s (0.12) |" in text


def test_without_the_real_graph_the_table_has_the_synthetic_ones() -> None:
    text = workflow.table(record())
    assert "130 s CPU" not in text
    assert "**1,200**" in text


@pytest.mark.parametrize(("about", "settings"), [(20, 1), (200, 2), (600, 6), (1200, 12)])
def test_a_graph_has_about_as_many_stages_as_were_asked_for(tmp_path, about, settings) -> None:
    found = synthetic.shape(about)
    assert found[0] == settings
    assert synthetic.build(tmp_path, *found) == pytest.approx(about, rel=0.05, abs=1)
    parameters = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert (len(parameters["benchmark"]), len(parameters["methods"])) == found


def test_entries_are_deps_single_parameters_and_outs() -> None:
    one = {
        "deps": [{"path": "a"}],
        "params": {"params.yaml": {"x": 1, "y": {"z": 2}}},
        "outs": [{}, {}],
    }
    locks = {
        Path("/r/dvc.lock"): yaml.safe_dump({"stages": {"one": one}}).encode(),
        Path("/r/settings/s/dvc.lock"): yaml.safe_dump(
            {"stages": {"two": {"outs": [{}]}}}
        ).encode(),
    }
    found = workflow.lock_sizes(locks, Path("/r"))
    assert found["stages"] == 2
    assert found["entries"] == {"most": 5, "mean": 3.0}
    assert found["lock_bytes"] == {str(p)[3:]: len(content) for p, content in locks.items()}


def test_the_seconds_of_a_shells_children_are_read() -> None:
    assert workflow.child_seconds("0m9.00s 0m9.00s\n1m1.25s 0m0.50s\n") == 61.75


def test_what_outlives_a_command_is_counted(tmp_path) -> None:
    (tmp_path / "nothing.py").write_text("")
    (tmp_path / "burn.py").write_text(BURN)
    (tmp_path / "leave.py").write_text(LEAVE)
    (tmp_path / "fail.py").write_text("print('the last line\\n'); raise SystemExit(3)\n")
    nothing, found = (workflow.run(name, tmp_path) for name in ("nothing", "leave"))
    assert found["cpu"] > nothing["cpu"] + 0.4
    with pytest.raises(
        workflow.Refusal, match="python -m fail ended with exit code 3: the last line"
    ):
        workflow.run("fail", tmp_path)


def test_a_hard_link_takes_no_room(tmp_path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / ".dvc/cache").mkdir(parents=True)
    (tmp_path / "artifacts/a").write_bytes(bytes(1000))
    (tmp_path / "artifacts/b").write_bytes(bytes(10))
    (tmp_path / ".dvc/cache/a").hardlink_to(tmp_path / "artifacts/a")
    found = workflow._gigabytes(tmp_path)
    assert found == {"artifacts_gb": pytest.approx(1.01e-6), "disk_gb": pytest.approx(1.01e-6)}


def test_an_unfinished_benchmark_is_refused(tmp_path, monkeypatch, capsys) -> None:
    synthetic.build(tmp_path, 1, 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".dvc/site"))
    assert workflow.main(["--sizes", "1", "--out", str(tmp_path / "out.json")]) == 1
    error = capsys.readouterr().err
    assert "must hold a finished benchmark" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


@pytest.mark.slow
def test_a_small_graph_is_measured_and_left_as_it_was(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "graph.site"))
    found = workflow.measure_synthetic(tmp_path / "graph", 20)
    assert found["stages"] == 20
    assert found["entries"]["most"] == 8
    scratch = found["scratch"]
    assert 0 < scratch["work"] < scratch["cpu"] - found["start"]["cpu"]
    assert 0 < found["one"]["work"] < found["one"]["cpu"]
    toy.assert_plain_dvc_agrees(tmp_path / "graph")
    runs = list((tmp_path / "graph/.dvc/cache/runs").glob("*/*/*"))
    assert len(runs) == 19  # no second one of the stage that was forced, and none of the report
    text = workflow.table(json.loads(json.dumps({**record(real=found), "synthetic": [found]})))
    assert "**20** in 2 files" in text
