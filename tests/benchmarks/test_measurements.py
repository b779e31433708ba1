import json

import numpy as np
import pytest
import torch

from benchmarks import engine, measure, tables


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


def test_the_engine_is_measured_on_small_inputs(tmp_path) -> None:
    sizes = engine.Sizes(
        n_train=50,
        n_test=10,
        batches=(20,),
        projected=(60, 8),
        memory=(30,),
        memory_shape=(4, 8),
        resnet=(3, 2, 8),
        repetitions=2,
        resnet_repetitions=1,
    )
    record = engine.measure(sizes, torch.get_num_threads(), tmp_path)
    (capture,), (memory,) = record["capture"], record["memory"]
    assert capture["ratio"] == pytest.approx(capture["capture"] / capture["plain"])
    for scoring in record["scoring"].values():
        rates = scoring["scoring_gflops"] / scoring["mm_gflops"]
        assert scoring["ratio"] == pytest.approx(rates)
    assert record["scoring"]["factored"]["width"] == 784 + 128 + 128 + 64 + 64 + 10
    assert memory["peak_mb"] >= memory["peak_mb_before"] > 0
    resnet = record["resnet"]
    assert resnet["parameters"] > 1e6
    for name, ratio in resnet["ratios"].items():
        times = resnet["seconds"]
        assert ratio == pytest.approx(times[name] / times["plain"])
    assert set(resnet["ratios"]) == {"capture", "grad-dot", "sparse"}
    assert resnet["peak_mb"] >= resnet["peak_mb_before"] > 0
    text = "\n".join(engine.page(record))
    assert all(word in text for word in ("torch.mm", "plain", "50 × 10 × 1,178", "0 MB"))
    json.dumps(record)


def test_the_page_says_which_targets_of_the_resnet_are_met() -> None:
    ratios = {"capture": 1.5, "grad-dot": 3.01, "sparse": 2.0}
    record = {
        "n_train": 1000,
        "n_test": 100,
        "parameters": 1_646_122,
        "dimension": 4096,
        "batch": 50,
        "repetitions": 3,
        "seconds": {"plain": 10.0, **{name: 10 * ratio for name, ratio in ratios.items()}},
        "ratios": ratios,
        "peak_mb": 1900.0,
        "peak_mb_before": 400.0,
    }
    rows = engine.page_of_resnet(record)[1].splitlines()[2:]
    assert rows == [
        "| plain | 10 s | – | – | – |",
        "| capture | 15 s | 1.50 × | 1.5 × | yes |",
        "| Grad-Dot | 30.1 s | 3.01 × | 3 × | no |",
        "| projected gradients, SparseJL, k = 4,096 | 20 s | 2.00 × | 4 × | yes |",
        "| Grad-Dot, memory | 1,500 MB | – | 1,611 MB | yes |",
    ]
