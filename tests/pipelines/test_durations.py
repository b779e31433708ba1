"""The expected end of simulated runs, and the file of durations."""

import json
import random
from types import SimpleNamespace

import pytest

from pipelines.durations import Estimate, load, save


def stages(**needs):
    """Stages by name; one whose name begins with `all` runs alone."""
    return {n: SimpleNamespace(needs=needs[n], alone=n.startswith("all")) for n in needs}


def test_only_news_is_written_sorted_and_rounded(tmp_path):
    path = tmp_path / "results/durations.json"
    save(path, {"b": 1.234, "a": 2})
    assert path.read_text() == '{\n"a": 2,\n"b": 1.23\n}\n'
    written = path.stat().st_mtime_ns
    save(path, {"b": 1.2341})
    assert path.stat().st_mtime_ns == written
    save(path, {"c": 3}, known={"a", "c"})
    assert load(path) == {"a": 2, "c": 3}
    assert [file.name for file in path.parent.iterdir()] == ["durations.json"]


@pytest.mark.parametrize("text", [None, "<<<<<<< HEAD"])
def test_a_file_that_cannot_be_read_is_none(tmp_path, text):
    path = tmp_path / "durations.json"
    if text:
        path.write_text(text)
    assert load(path) == {}


def test_a_chain_takes_its_sum_and_independent_stages_the_longest():
    chain = stages(a=(), b=("a",), c=("b",))
    past = {"a": 1, "b": 2, "c": 3}
    assert Estimate(chain, past).left("abc", {}, 2) == 6
    assert Estimate(stages(a=(), b=(), c=()), past).left("abc", {}, 3) == 3
    assert Estimate(stages(a=(), b=(), c=()), past).left("abc", {}, 1) == 6


def test_what_runs_alone_adds_up():
    graph = stages(a=(), all1=(), all2=(), b=())
    assert Estimate(graph, dict.fromkeys(graph, 10.0)).left(list(graph), {}, 2) == 30


def test_the_elapsed_part_of_a_running_stage_counts():
    graph = stages(a=(), b=("a",))
    assert Estimate(graph, {"a": 10, "b": 5}).left(["b"], {"a": 4}, 2) == 6 + 5


def test_a_need_that_is_done_holds_nothing_up():
    assert Estimate(stages(a=(), b=("a",)), {"b": 5}).left(["b"], {}, 2) == 5


def test_a_stage_never_seen_takes_what_its_group_does():
    graph = stages(**{"settings/new/dvc.yaml:solve@x": (), "other": ()})
    past = {f"settings/s/dvc.yaml:solve@{i}": s for i, s in enumerate([1, 7, 90])}
    estimate = Estimate(graph, past)
    assert estimate.left(["settings/new/dvc.yaml:solve@x"], {}, 1) == 7
    assert estimate.left(["other"], {}, 1) == 1


def test_without_a_past_three_stages_of_the_run_tell_of_the_others():
    names = [f"{kind}@{i}" for kind in ("train", "solve") for i in range(50)]
    estimate = Estimate(stages(**dict.fromkeys(names, ())), {})
    for ended in range(3):
        estimate.actual = {f"train@{i}": 60.0 for i in range(ended)}
        assert not estimate.known
    estimate.actual = {"train@0": 60.0, "train@1": 50.0, "train@2": 90.0}
    assert estimate.known
    assert estimate.left(names[3:], {}, 2) == pytest.approx(97 * 60 / 2, rel=0.02)
    estimate.actual = {**estimate.actual, "solve@0": 5.0}
    rest = [name for name in names if name not in estimate.actual]
    assert estimate.left(rest, {}, 2) == pytest.approx((47 * 60 + 49 * 5) / 2, rel=0.02)


def test_a_past_of_most_stages_is_enough_to_begin_with():
    graph = stages(a=(), b=(), c=(), d=())
    assert Estimate(graph, {"a": 1, "b": 1}).known
    assert not Estimate(graph, {"a": 1}).known


def test_stages_never_seen_say_nothing_of_the_speed():
    graph = stages(a=(), new=())
    estimate = Estimate(graph, {"a": 10})
    estimate.actual = {"new": 1000.0}
    assert estimate.left(["a"], {}, 1) == 10


def test_a_late_stage_tells_of_a_slow_machine():
    graph = stages(a=(), b=("a",))
    estimate = Estimate(graph, {"a": 10, "b": 100})
    assert estimate.left(["b"], {"a": 60}, 1) > 300


SECONDS = {"data": 1, "train": 12, "gradients": 4, "solve": 8, "score": 3, "evaluate": 0.5}


def random_graph(rng):
    """A few hundred stages like the benchmark's, with what they took: most are short, some long."""
    names = [f"settings/s/dvc.yaml:{kind}@{i}" for i in range(40) for kind in SECONDS]
    names = names[: rng.choice([60, 120, 240])]
    graph, past = {}, {}
    for i, name in enumerate(names):
        needs = rng.sample(names[max(0, i - 30) : i], min(i, rng.choice([0, 1, 1, 2, 3])))
        graph[name] = SimpleNamespace(needs=tuple(needs), alone=rng.random() < 0.03)
        usual = SECONDS[name.partition(":")[2].partition("@")[0]]
        past[name] = usual * rng.lognormvariate(0, 0.7) * (4 if graph[name].alone else 1)
    return graph, past


def run(graph, seconds, slots):
    """Yield the time at each event of a run, with what waits, runs (since when) and has ended."""
    clock, waiting, running, done = 0.0, list(graph), {}, []
    while waiting or running:
        for name in sorted(waiting, key=lambda name: not graph[name].alone):
            if not set(graph[name].needs) <= set(done):
                continue
            alone = graph[name].alone or any(graph[other].alone for other in running)
            if len(running) >= (1 if alone else slots):
                break
            running[name] = clock
            waiting.remove(name)
        yield clock, list(waiting), dict(running), list(done)
        first = min(running, key=lambda name: running[name] + seconds[name])
        clock = running.pop(first) + seconds[first]
        done.append(first)
    yield clock, [], {}, done


@pytest.mark.parametrize("slowness", [1 / 3, 0.5, 1, 2])
@pytest.mark.parametrize("seed", range(10))
def test_from_the_first_minute_on_the_end_is_known_within_30_percent(seed, slowness):
    rng = random.Random(seed)
    graph, past = random_graph(rng)
    slots = rng.choice([2, 4, 8])
    seconds = {name: s * slowness * rng.lognormvariate(0, 0.25) for name, s in past.items()}
    for name in rng.sample(sorted(past), len(past) // 20):
        del past[name]
    estimate = Estimate(graph, past)
    events = list(run(graph, seconds, slots))
    end, checked = events[-1][0], 0
    for clock, waiting, running, done in events:
        estimate.actual = {name: seconds[name] for name in done}
        if clock >= 60 and len(done) >= 5:  # fewer say too little of a machine
            left = estimate.left(waiting, {n: clock - began for n, began in running.items()}, slots)
            assert clock + left == pytest.approx(end, rel=0.3), (clock, len(done))
            checked += 1
    assert checked or end < 90


def test_a_run_on_a_slow_machine_is_corrected_from_the_committed_seconds(tmp_path):
    path = tmp_path / "durations.json"
    path.write_text(json.dumps({f"solve@{i}": 2.0 for i in range(100)}))
    graph = stages(**{f"solve@{i}": () for i in range(100)})
    estimate = Estimate(graph, load(path))
    assert estimate.left(list(graph), {}, 2) == pytest.approx(100)
    estimate.actual = {f"solve@{i}": 6.0 for i in range(20)}
    assert estimate.left(list(graph)[20:], {}, 2) == pytest.approx(240, rel=0.1)
