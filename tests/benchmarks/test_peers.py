import ast
import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import environment, measure, peers, processes, side
from benchmarks.comparison import compare_results
from benchmarks.methods import METHODS, Agreement, Contender
from benchmarks.operations import HESSIAN_PAIR, WEIGHTS, floor_seconds, operations
from benchmarks.peers_page import page, verdict
from benchmarks.sides import headwater

SIDES = Path(headwater.__file__).parent
OURS = {"finished": True, "seconds": 0.5, "peak_mb": 400.0, "peak_mb_before": 300.0}
SAME = {"difference": 1e-6, "correlation": 1.0, "not_finite": 0}


def calls(library: str) -> set[str]:
    """Read the names in a side's CALLS; its library need not be installed."""
    for node in ast.parse((SIDES / f"{library}.py").read_text()).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CALLS":
            return {ast.literal_eval(key) for key in node.value.keys}  # type: ignore[union-attr]
    raise AssertionError(f"{library}.py has no CALLS")


def contenders() -> list[Contender]:
    return [contender for method in METHODS for contender in method.contenders]


def test_every_call_in_the_table_exists_and_every_call_is_in_the_table() -> None:
    assert set(headwater.CALLS) == {method.key for method in METHODS} == calls("headwater")
    for library in {contender.side for contender in contenders()}:
        assert calls(library) == {c.call for c in contenders() if c.side == library}


def test_results_are_compared_after_their_conversion() -> None:
    ours = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)
    negative, per_sample = Agreement.NEGATIVE.factor(9), Agreement.NEGATIVE_N.factor(9)
    assert compare_results(ours, -ours, negative)["difference"] == 0
    assert compare_results(ours, -9 * ours, per_sample)["difference"] == pytest.approx(0)
    assert compare_results(ours, ours, negative)["difference"] == 2
    assert compare_results(ours, -ours, negative)["correlation"] == pytest.approx(1)
    assert compare_results(ours, 0.4 - ours, negative)["difference"] == pytest.approx(0.1)


def test_what_is_not_finite_on_the_other_side_is_counted() -> None:
    ours = np.arange(4.0)
    found = compare_results(ours, np.array([0.0, np.nan, 2.0, np.inf]), 1.0)
    assert found == {"difference": 0.0, "correlation": pytest.approx(1.0), "not_finite": 2}
    nothing = {"difference": None, "correlation": None, "not_finite": 4}
    assert compare_results(ours, np.full(4, np.nan), 1.0) == nothing
    with pytest.raises(ValueError, match="same samples"):
        compare_results(ours, np.zeros(3), 1.0)


def test_our_side_gives_the_scores_of_per_sample_gradients(tmp_path, monkeypatch) -> None:
    from benchmarks.problem import make_task, save_problem, train
    from headwater.gradients import per_sample_gradients

    monkeypatch.setattr(side, "_refuse_more_than_there_is", lambda: None)
    save_problem(tmp_path, 40, 6)
    side.main("headwater", "grad-dot", tmp_path, tmp_path / "out", torch.get_num_threads())
    samples, state = train(40, 6)
    task = make_task(state)
    train_gradients, test_gradients = (
        per_sample_gradients(task.bind(), task.loss, pair) for pair in (samples[:2], samples[2:])
    )
    found = np.load(tmp_path / "out" / "result.npy")
    wanted = (train_gradients @ test_gradients.T).numpy()
    assert compare_results(found, wanted, -1.0)["difference"] < 1e-5
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["peak_mb"] >= record["peak_mb_before"] > 0


def test_a_side_that_takes_long_is_run_once(tmp_path, monkeypatch) -> None:
    durations, runs = count(301), []

    def run(command, **_) -> None:
        runs.append(command)
        measure.save_record(tmp_path / "record.json", {"seconds": float(next(durations))})

    monkeypatch.setattr(processes.subprocess, "run", run)
    found = processes.run_side(["side"], tmp_path, 1, 5, 600)
    assert runs == [["side", "1"]]
    assert found == {"finished": True, "seconds": 301.0, "repetitions": [301.0]}


def test_a_side_that_is_stopped_or_fails_is_entered_as_that(tmp_path) -> None:
    python = [environment.sys.executable, "-c"]
    slow = processes.run_side([*python, "import time; time.sleep(9)"], tmp_path, 1, 3, 0.2)
    assert slow == {"finished": False, "limit": 0.2}
    broken = processes.run_side([*python, "raise MemoryError('100 GB')"], tmp_path, 1, 3, 60)
    assert broken == {"finished": False, "error": "MemoryError: 100 GB"}


def test_a_lower_bound_meets_a_target_or_leaves_it_open() -> None:
    assert verdict(200.0, 100, True) == verdict(200.0, 100, False) == "yes"
    assert verdict(50.0, 100, True) == "no"
    assert verdict(50.0, 100, False) == "open"
    assert verdict(50.0, None, True) == verdict(None, 100, False) == "–"


def record(rows) -> dict:
    return {
        "gemm_gflops": 50.0,
        "machine": measure.machine(1),
        "n_test": 500,
        "n_train": 5000,
        "repetitions": 3,
        "rows": rows,
        "versions": {"dattri": "0.3.0"},
    }


def test_the_page_says_what_is_met_and_what_the_floor_is() -> None:
    exact, default = ({**OURS, "seconds": s, "agreement": SAME} for s in (5.0, 100.0))
    rows = {
        "grad-dot": {"headwater": OURS, "contenders": [exact, default]},
        "fisher": {"headwater": OURS, "contenders": []},
        "if-cg": {"headwater": OURS, "contenders": [{"finished": False, "limit": 600.0}]},
        "data-inf": {"headwater": OURS, "contenders": [{"finished": False, "error": "no memory"}]},
    }
    text = "\n".join(page(record(rows)))
    assert "| dattri, exact | 5 s | 400 MB | 10 × | 100 × | no | 1.0e-06 | 1.0000 |" in text
    assert "| 200 × | – | – | – | 1.0000 |" in text  # a projected score: no difference is shown
    assert "did not finish in 10 min | – | > 1,200 × | 20 × | yes" in text
    assert "no peer can" in text
    assert "- DataInf, dattri: `no memory`" in text
    assert "| Grad-Dot | dattri | 100 × | 10 × | 500 ms | 7.19 GFLOP" in text  # the floor in GFLOP
    assert "| IF, CG" not in text.split("## Targets")[1]


def test_operations_are_those_of_the_products() -> None:
    n, m = 7, 3
    assert operations("grad-dot", n, m) == pytest.approx(
        (n + m) * (2 * WEIGHTS + 2 * (128 * 64 + 64 * 10)) + 2 * n * m * 1178
    )
    assert WEIGHTS + 128 + 64 + 10 == 109_386
    assert HESSIAN_PAIR == 4 * 784 * 128 + 12 * (128 * 64 + 64 * 10)
    assert floor_seconds("lds", n, m, 2.0) == 2 * 50 * n * m / 2e9
    assert floor_seconds("auc", n, m, 2.0) is None


def test_rows_stay_only_if_they_were_measured_under_the_same_terms(tmp_path) -> None:
    path, before = tmp_path / "peers.json", record({"auc": {"headwater": OURS, "contenders": []}})
    assert peers.start_record(path, {**before, "rows": {}})["rows"] == {}
    measure.save_record(path, before)
    common = {**before, "rows": {}, "gemm_gflops": 51.0}
    kept = peers.start_record(path, common)
    assert set(kept["rows"]) == {"auc"}
    assert kept["gemm_gflops"] == 51.0
    assert peers.start_record(path, {**common, "n_test": 7})["rows"] == {}


def test_the_environment_is_renewed_when_its_versions_change(tmp_path, monkeypatch) -> None:
    commands = []

    def run(command, **_) -> None:
        commands.append(command)
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / "python").touch()

    monkeypatch.setattr(environment.subprocess, "run", run)
    environment.make_environment(tmp_path)
    made = len(commands)
    assert made == 1 + len(environment.STEPS)
    environment.make_environment(tmp_path)
    assert len(commands) == made
    monkeypatch.setattr(environment, "STEPS", (("torch",),))
    environment.make_environment(tmp_path)
    assert len(commands) == made + 1  # the environment itself stays
