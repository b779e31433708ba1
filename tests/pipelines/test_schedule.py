"""The ready queue alone: no DVC, no Prefect."""

import random

from pipelines.graph import Stage
from pipelines.schedule import Schedule


def started(schedule: Schedule) -> list[str]:
    return [stage.name for stage in schedule.start()]


def graph(*stages: Stage) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages}


def test_a_stage_starts_when_its_needs_are_done():
    schedule = Schedule(graph(Stage("a"), Stage("b", ("a",)), Stage("c")), 2, {})
    assert started(schedule) == ["a", "c"]
    schedule.finish("a")
    assert started(schedule) == ["b"]


def test_what_is_up_to_date_counts_as_done():
    schedule = Schedule(graph(Stage("a", stale=False), Stage("b", ("a",))), 2, {})
    assert started(schedule) == ["b"]
    assert schedule.total == 1


def test_no_more_than_the_slots():
    schedule = Schedule(graph(*(Stage(name) for name in "abcd")), 2, {})
    assert started(schedule) == ["a", "b"]
    assert started(schedule) == []
    schedule.finish("b")
    assert started(schedule) == ["c"]


def test_a_stage_on_all_cores_runs_alone_and_is_not_overtaken():
    stages = graph(Stage("a"), Stage("all", ("a",), alone=True), Stage("b"), Stage("c"))
    schedule = Schedule(stages, 2, {})
    assert started(schedule) == ["a", "b"]
    schedule.finish("a")
    assert started(schedule) == []
    schedule.finish("b")
    assert started(schedule) == ["all"]
    assert started(schedule) == []
    schedule.finish("all")
    assert started(schedule) == ["c"]


def test_a_stage_whose_tag_is_at_its_limit_keeps_no_slot():
    gpu = ("gpu",)
    stages = graph(Stage("a", tags=gpu), Stage("b", tags=gpu), Stage("c"))
    schedule = Schedule(stages, 2, {"gpu": 1})
    assert started(schedule) == ["a", "c"]
    schedule.finish("c")
    assert started(schedule) == []
    schedule.finish("a")
    assert started(schedule) == ["b"]


def test_what_needs_a_failed_stage_is_given_up_and_the_rest_goes_on():
    stages = graph(Stage("a"), Stage("b", ("a",)), Stage("c", ("b",)), Stage("d"))
    schedule = Schedule(stages, 1, {})
    assert started(schedule) == ["a"]
    schedule.finish("a", "ValueError: no")
    assert started(schedule) == ["d"]
    schedule.finish("d")
    assert started(schedule) == []
    assert schedule.failed == {"a": "ValueError: no"}
    assert schedule.not_run == {"b": ["a"], "c": ["a"]}
    assert schedule.done == ["d"]


def test_the_highest_priority_starts_first_and_is_given_up_all_the_same():
    stages = graph(
        Stage("a"), Stage("b", priority=1), Stage("c", ("a",)), Stage("d", ("c",), priority=2)
    )
    schedule = Schedule(stages, 1, {})
    assert started(schedule) == ["b"]
    schedule.finish("b")
    assert started(schedule) == ["a"]
    schedule.finish("a", "broken")
    assert started(schedule) == []
    assert schedule.not_run == {"c": ["a"], "d": ["a"]}


def test_every_stage_of_a_random_graph_runs_once_and_after_its_needs():
    choose = random.Random(0)
    for _ in range(50):
        names = [f"s{i}" for i in range(choose.randint(1, 20))]
        stages = graph(
            *(
                Stage(
                    name,
                    needs=tuple(choose.sample(names[:i], min(i, choose.randint(0, 3)))),
                    tags=("gpu",) if choose.random() < 0.3 else (),
                    alone=choose.random() < 0.2,
                    priority=choose.randint(0, 2),
                )
                for i, name in enumerate(names)
            )
        )
        slots = choose.randint(1, 4)
        schedule = Schedule(stages, slots, {"gpu": 1})
        while True:
            for stage in schedule.start():
                assert set(stage.needs) <= set(schedule.done)
            running = schedule.running.values()
            assert len(running) <= slots
            assert len(running) == 1 or not any(stage.alone for stage in running)
            assert sum("gpu" in stage.tags for stage in running) <= 1
            if not running:
                break
            schedule.finish(choose.choice(list(schedule.running)))
        assert sorted(schedule.done) == sorted(names)


def test_a_stage_is_spared_when_what_it_needs_made_the_same_outs():
    stages = graph(
        Stage("plan"), Stage("a", ("plan",), changed=False), Stage("b", ("a",), changed=False)
    )
    schedule = Schedule(stages, 2, {})
    assert started(schedule) == ["plan"]
    schedule.finish("plan", same=True)
    assert started(schedule) == []
    assert not schedule.running
    assert schedule.total == 1


def test_a_stage_that_changed_itself_is_never_spared():
    stages = graph(
        Stage("plan"),
        Stage("a", ("plan",)),
        Stage("b", ("a",), changed=False),
        Stage("c", ("plan",)),
    )
    schedule = Schedule(stages, 4, {})
    schedule.start()
    schedule.finish("plan", same=True)
    assert started(schedule) == ["a", "c"]
    schedule.finish("a")
    assert started(schedule) == ["b"], "its need made other outs"


def test_a_failed_stage_spares_nothing():
    schedule = Schedule(graph(Stage("a"), Stage("b", ("a",), changed=False)), 2, {})
    schedule.start()
    schedule.finish("a", "broken")
    assert started(schedule) == []
    assert schedule.not_run == {"b": ["a"]}
