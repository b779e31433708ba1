import json
from itertools import count

import numpy as np
import pytest
import torch

from benchmarks import engine, measure, peers, tables
from benchmarks.grad_dot import SIDES, main


def test_a_ratio_is_of_medians_and_functions_take_turns() -> None:
    assert measure.ratio_of_medians([2.0, 9.0, 4.0], [1.0, 2.0, 50.0]) == 2.0
    calls: list[str] = []
    seconds = measure.alternate({name: lambda n=name: calls.append(n) for name in "ab"}, 3)
    assert calls == list("ab" * 4)  # one call each before the clock runs
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_peak_memory_sees_what_was_allocated() -> None:
    before = measure.peak_memory()
    held = np.ones(40 * measure.MB // 8 + before // 8)
    assert measure.peak_memory() >= held.nbytes


def test_records_are_sorted_and_rounded(tmp_path) -> None:
    measure.save_record(tmp_path / "r.json", {"b": [1.23456], "a": {"z": 5000, "y": None}})
    text = (tmp_path / "r.json").read_text()
    assert json.loads(text) == {"a": {"y": None, "z": 5000}, "b": [1.235]}
    assert text.index('"a"') < text.index('"b"')


def test_a_table_refuses_a_row_of_another_length() -> None:
    found = tables.table(["side", "time"], [["ours", tables.seconds(0.01234)]])
    assert found.splitlines() == ["| side | time |", "| :-- | --: |", "| ours | 12.3 ms |"]
    with pytest.raises(ValueError, match="2 cells, got 1"):
        tables.table(["side", "time"], [["ours"]])


@pytest.mark.parametrize(
    ("value", "text"), [(0.0005, "0.5 ms"), (0.9, "900 ms"), (1.5, "1.5 s"), (123.4, "123 s")]
)
def test_durations_have_three_digits(value, text) -> None:
    assert tables.seconds(value) == text


def test_scores_are_compared_with_their_signs() -> None:
    ours = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)
    same = peers.compare_scores(ours, -ours)
    assert same["difference"] == 0
    assert same["correlation"] == pytest.approx(1)
    assert peers.compare_scores(ours, ours)["difference"] == 2
    assert peers.compare_scores(ours, -ours + 0.4)["difference"] == pytest.approx(0.1)


def test_our_side_gives_the_scores_of_per_sample_gradients(tmp_path) -> None:
    from benchmarks.problem import make_task, save_problem, train
    from headwater.gradients import per_sample_gradients

    save_problem(tmp_path, 40, 6)
    main("headwater", tmp_path, tmp_path / "out", torch.get_num_threads())
    samples, state = train(40, 6)
    task = make_task(state)
    train_gradients, test_gradients = (
        per_sample_gradients(task.bind(), task.loss, pair) for pair in (samples[:2], samples[2:])
    )
    found = np.load(tmp_path / "out" / "scores.npy")
    wanted = (train_gradients @ test_gradients.T).numpy()
    assert peers.compare_scores(found, wanted)["difference"] < 1e-5
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["peak_mb"] >= record["peak_mb_before"] > 0


def test_every_side_has_its_label() -> None:
    assert set(peers.LABELS) == set(SIDES)


def test_the_page_says_which_side_did_not_finish() -> None:
    done = {"finished": True, "seconds": 0.5, "peak_mb": 400.0, "peak_mb_before": 300.0}
    record = {
        "agreement": {"dattri-exact": {"difference": 1e-6, "correlation": 1.0}},
        "dattri": "0.3.0",
        "machine": measure.machine(1),
        "n_test": 5,
        "n_train": 10,
        "sides": {
            "headwater": {**done, "repetitions": [0.5]},
            "dattri-exact": {**done, "seconds": 5.0, "repetitions": [4.0, 5.0, 6.0]},
            "dattri-default": {"finished": False},
        },
    }
    text = "\n".join(peers.page(record))
    assert "| 5 s | 3 | 10 × | 400 MB | 1.0e-06 | 1.0000 |" in text
    assert "did not finish in 10 min" in text


def test_a_side_that_takes_long_is_run_once(tmp_path, monkeypatch) -> None:
    durations, runs = count(61), []

    def run(command, **_) -> None:
        runs.append(command)
        measure.save_record(tmp_path / "record.json", {"seconds": float(next(durations))})

    monkeypatch.setattr(peers.subprocess, "run", run)
    found = peers.run_side("headwater", tmp_path, tmp_path, tmp_path, 1, 5)
    assert len(runs) == 1
    assert found == {"finished": True, "seconds": 61.0, "repetitions": [61.0]}


def test_the_engine_is_measured_on_small_inputs(tmp_path) -> None:
    sizes = engine.Sizes(
        n_train=50,
        n_test=10,
        batches=(20,),
        projected=(60, 8),
        memory=(30,),
        memory_shape=(4, 8),
        repetitions=2,
    )
    record = engine.measure(sizes, torch.get_num_threads(), tmp_path)
    (capture,), (memory,) = record["capture"], record["memory"]
    assert capture["ratio"] == pytest.approx(capture["capture"] / capture["plain"])
    for scoring in record["scoring"].values():
        rates = scoring["scoring_gflops"] / scoring["mm_gflops"]
        assert scoring["ratio"] == pytest.approx(rates)
    assert record["scoring"]["factored"]["width"] == 784 + 128 + 128 + 64 + 64 + 10
    assert memory["peak_mb"] >= memory["peak_mb_before"] > 0
    text = "\n".join(engine.page(record))
    assert all(word in text for word in ("torch.mm", "plain", "50 × 10 × 1,178", "0 MB"))
    json.dumps(record)
