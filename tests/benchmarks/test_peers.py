import ast
import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import environment, measure, peers, processes, side
from benchmarks.comparison import compare_results
from benchmarks.methods import METHODS, PROBLEMS, Agreement, Contender
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


@pytest.mark.parametrize("problem", [problem.key for problem in PROBLEMS])
def test_our_side_gives_the_scores_of_per_sample_gradients(
    problem, mirror, tmp_path, monkeypatch
) -> None:
    from benchmarks.problem import save_problem
    from benchmarks.sides.inputs import read_inputs

    monkeypatch.setattr(side, "_refuse_more_than_there_is", lambda: None)
    monkeypatch.setenv("HEADWATER_DATA_MIRROR", str(mirror))
    save_problem(tmp_path, problem, 12, 5)
    side.main("headwater", "grad-dot", tmp_path, tmp_path / "out", torch.get_num_threads())
    inputs = read_inputs(tmp_path)
    train, test = (
        _gradients(inputs.model(), inputs.parameters, samples.tensors)
        for samples in (inputs.train_set, inputs.test_set)
    )
    found = np.load(tmp_path / "out" / "result.npy")
    assert compare_results(found, (train @ test.T).numpy(), -1.0)["difference"] < 1e-5
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["peak_mb"] >= record["peak_mb_before"] > 0


def _gradients(model, names, samples) -> torch.Tensor:
    parameters, rows = [dict(model.named_parameters())[name] for name in names], []
    for x, y in zip(*samples, strict=True):
        logits = model(x[None]).flatten(0, -2)
        loss = torch.nn.functional.cross_entropy(logits, y.reshape(-1), reduction="sum")
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    return torch.stack(rows)


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


def table(rows, n_train=5000, n_test=500, attributed=109_386) -> dict:
    sizes = {"n_train": n_train, "n_test": n_test}
    return {**sizes, "parameters": 109_386, "attributed": attributed, "rows": rows}


def record(**problems) -> dict:
    return {
        "gemm_gflops": 50.0,
        "machine": measure.machine(1),
        "problems": problems,
        "repetitions": 3,
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
    text = "\n".join(page(record(**{"mnist-mlp": table(rows)})))
    assert "109,386 parameters; 5,000 training × 500 test samples" in text
    assert "| dattri, exact | 5 s | 400 MB | 10 × | 100 × | no | 1.0e-06 | 1.0000 |" in text
    assert "| 200 × | – | – | – | 1.0000 |" in text  # a projected score: no difference is shown
    assert "did not finish in 10 min | – | > 1,200 × | 20 × | yes" in text
    assert "no peer can" in text
    assert "- DataInf, dattri: `no memory`" in text
    assert "| Grad-Dot | dattri | 100 × | 10 × | 500 ms | 7.19 GFLOP" in text  # the floor in GFLOP
    assert "| IF, CG" not in text.split("### Targets")[1]


def test_the_page_has_a_section_per_problem_that_was_measured() -> None:
    theirs = {**OURS, "seconds": 1.0, "agreement": SAME}
    failed = {"finished": False, "error": "no convolutions"}
    rows = {"ek-fac": {"headwater": OURS, "contenders": [theirs, failed]}}
    found = record(conv=table(rows, 1000, 100, 98_442), gpt=table({}))
    parts = page(found)
    assert [part for part in parts if part.startswith("#")] == [
        "# Headwater beside its peers",
        "## conv",
        "### Where a peer gives no scores",
    ]
    text = "\n".join(parts)
    assert "scores are of the 98,442 in Linear and Conv2d layers; 1,000 training" in text
    assert "| kronfluence | 1 s | 400 MB | 2 × | – | – | 1.0e-06 | 1.0000 |" in text
    assert "- EK-FAC, empirical Fisher, dattri: `no convolutions`" in text


def test_operations_are_those_of_the_products() -> None:
    n, m = 7, 3
    assert operations("mnist-mlp", "grad-dot", n, m) == pytest.approx(
        (n + m) * (2 * WEIGHTS + 2 * (128 * 64 + 64 * 10)) + 2 * n * m * 1178
    )
    assert WEIGHTS + 128 + 64 + 10 == 109_386
    assert HESSIAN_PAIR == 4 * 784 * 128 + 12 * (128 * 64 + 64 * 10)
    assert floor_seconds("mnist-mlp", "lds", n, m, 2.0) == 2 * 50 * n * m / 2e9
    assert floor_seconds("mnist-mlp", "auc", n, m, 2.0) is None
    assert floor_seconds("conv", "grad-dot", n, m, 2.0) is None


def test_rows_stay_only_if_they_were_measured_under_the_same_terms(tmp_path) -> None:
    path, row = tmp_path / "peers.json", {"headwater": OURS, "contenders": []}
    before = record(**{"mnist-mlp": table({"auc": row}), "conv": table({"grad-dot": row}, 9, 3)})
    common = {key: value for key, value in before.items() if key != "problems"}
    sizes = {"mnist-mlp": {"n_train": 5000, "n_test": 500}}
    empty = {**sizes["mnist-mlp"], "rows": {}}
    assert peers.start_record(path, common, sizes)["problems"] == {"mnist-mlp": empty}
    measure.save_record(path, before)
    kept = peers.start_record(path, {**common, "gemm_gflops": 51.0}, sizes)
    assert set(kept["problems"]["mnist-mlp"]["rows"]) == {"auc"}
    assert set(kept["problems"]["conv"]["rows"]) == {"grad-dot"}  # was not asked for
    assert kept["gemm_gflops"] == 51.0
    other = {"mnist-mlp": {"n_train": 5000, "n_test": 7}}
    found = peers.start_record(path, common, other)["problems"]
    assert not found["mnist-mlp"]["rows"]
    assert found["conv"]["rows"]
    found = peers.start_record(path, {**common, "repetitions": 1}, sizes)["problems"]
    assert found == {"mnist-mlp": empty}


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
