"""The ready queue alone: no DVC, no Prefect."""

import random

from pipelines.schedule import Schedule, Stage, stale, with_chains


def started(schedule: Schedule, slots: int = 2, gpus: int = 0) -> list[str]:
    return [stage.name for stage in schedule.start(slots, gpus)]


def test_a_stage_starts_when_its_needs_are_done():
    schedule = Schedule([Stage("a"), Stage("b", ("a",)), Stage("c")])
    assert started(schedule) == ["a", "c"]
    schedule.finish("a")
    assert started(schedule) == ["b"]


def test_what_is_up_to_date_counts_as_done():
    schedule = Schedule([Stage("b", ("a",))])
    assert started(schedule) == ["b"]
    assert schedule.left
    schedule.finish("b")
    assert not schedule.left


def test_what_may_have_to_run_is_what_changed_and_all_that_depends_on_it():
    stages = [
        Stage("a"),
        Stage("b", ("a",)),
        Stage("c"),
        Stage("d", ("c", "b")),
        Stage("e", ("c",)),
    ]
    assert list(stale(stages, {"b"})) == ["b", "d"]
    assert list(stale(stages, set())) == []


def test_no_more_than_the_slots():
    schedule = Schedule(map(Stage, "abcd"))
    assert started(schedule) == ["a", "b"]
    assert started(schedule) == []
    schedule.finish("b")
    assert started(schedule) == ["c"]


def test_a_stage_on_all_cores_runs_alone_and_is_not_overtaken():
    all_cores = Stage("all", ("a",), alone=True)
    schedule = Schedule([Stage("a"), all_cores, Stage("b"), Stage("c")])
    assert started(schedule) == ["a", "b"]
    schedule.finish("a")
    assert started(schedule) == []
    schedule.finish("b")
    assert started(schedule) == ["all"]
    assert started(schedule) == []
    schedule.finish("all")
    assert started(schedule) == ["c"]


def test_a_stage_that_waits_for_a_gpu_keeps_no_slot():
    schedule = Schedule([Stage("a", gpu=True), Stage("b", gpu=True), Stage("c")])
    assert started(schedule, gpus=1) == ["a", "c"]
    schedule.finish("c")
    assert started(schedule, gpus=1) == []
    schedule.finish("a")
    assert started(schedule, gpus=1) == ["b"]


def test_as_many_stages_as_there_are_gpus_have_one():
    schedule = Schedule([Stage(name, gpu=True) for name in "abc"])
    assert started(schedule, 4, gpus=0) == []
    assert schedule.left
    assert started(schedule, 4, gpus=2) == ["a", "b"]


def test_what_needs_a_failed_stage_is_given_up_and_the_rest_goes_on():
    schedule = Schedule([Stage("a"), Stage("b", ("a",)), Stage("c", ("b",)), Stage("d")])
    assert started(schedule, 1) == ["a"]
    schedule.finish("a", "ValueError: no")
    assert started(schedule, 1) == ["d"]
    schedule.finish("d")
    assert started(schedule, 1) == []
    assert not schedule.left
    assert schedule.failed == {"a": "ValueError: no"}
    assert schedule.not_run == {"b": ["a"], "c": ["a"]}


def test_the_longest_chain_starts_first_and_is_given_up_all_the_same():
    schedule = Schedule(
        [Stage("a"), Stage("b", chain=1), Stage("c", ("a",)), Stage("d", ("c",), chain=2)]
    )
    assert started(schedule, 1) == ["b"]
    schedule.finish("b")
    assert started(schedule, 1) == ["a"]
    schedule.finish("a", "broken")
    assert started(schedule, 1) == []
    assert schedule.not_run == {"c": ["a"], "d": ["a"]}


def test_every_stage_of_a_random_graph_runs_once_and_after_its_needs():
    choose = random.Random(0)
    for _ in range(50):
        names = [f"s{i}" for i in range(choose.randint(1, 20))]
        stages = [
            Stage(
                name,
                needs=tuple(choose.sample(names[:i], min(i, choose.randint(0, 3)))),
                gpu=choose.random() < 0.3,
                alone=choose.random() < 0.2,
                chain=choose.randint(0, 2),
            )
            for i, name in enumerate(names)
        ]
        slots = choose.randint(1, 4)
        schedule = Schedule(stages)
        done: list[str] = []
        while schedule.left:
            for stage in schedule.start(slots, gpus=1):
                assert set(stage.needs) <= set(done)
            running = schedule.running.values()
            assert 0 < len(running) <= slots
            assert len(running) == 1 or not any(stage.alone for stage in running)
            assert sum(stage.gpu for stage in running) <= 1
            done.append(choose.choice(list(schedule.running)))
            schedule.finish(done[-1])
        assert sorted(done) == sorted(names)


def test_a_chain_is_a_stage_and_the_longest_that_follows():
    stages = [Stage("a"), Stage("b", ("a",)), Stage("c", ("a",)), Stage("d", ("b", "c"))]
    found = with_chains(stages, {"a": 1.0, "b": 5.0, "c": 2.0, "d": 3.0})
    assert [stage.chain for stage in found] == [9.0, 8.0, 5.0, 3.0]
    assert [stage.chain for stage in with_chains(stages, {})] == [0.0] * 4
