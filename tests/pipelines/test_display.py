"""What a run shows: with a terminal and without; the clock stands still but where a test turns it."""

import io
import json
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from pipelines.display import Display, minutes, short

A, B, C = (f"settings/mnist-lr/dvc.yaml:solve@{key}" for key in "abc")
STAGES = {
    A: SimpleNamespace(needs=(), alone=False),
    B: SimpleNamespace(needs=(A,), alone=False),
    C: SimpleNamespace(needs=(B,), alone=False),
    "report": SimpleNamespace(needs=(), alone=True),
}


class Screen(Console):
    """A console in memory, with a clock that a test sets."""

    def __init__(self, terminal):
        self.now = 0.0
        super().__init__(
            file=io.StringIO(),
            force_terminal=terminal,
            width=120,
            get_time=lambda: self.now,
            _environ={"TERM": "xterm"},
        )

    @property
    def text(self):
        return self.file.getvalue()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "results/durations.json"
    path.parent.mkdir()
    path.write_text(json.dumps({A: 10.0, B: 20.0, "old": 1.0}))
    return path


def drawn(display):
    """The live view as it would be drawn now."""
    console = Console(file=io.StringIO(), width=120)
    console.print(display.get_renderable())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_without_a_terminal_each_end_is_a_plain_line(path):
    screen = Screen(terminal=False)
    with Display(STAGES, path, console=screen) as display:
        display.plan(list(STAGES), 2)
        display.begin(A)
        display.output(A, "solving: 30 of 100, 12 s left")
        display.output(A, "a line of [bold] its own")
        screen.now = 10.0
        display.end(A, "ran", 10.04)
        display.end(B, "restored", 0.1)
        display.begin(C)
        screen.now = 200.0
        display.end(C, "failed", 190.0, "ValueError: [no]")
        display.end("report", "spared", 0.0)
    assert screen.text.splitlines() == [
        "mnist-lr solve@a | a line of [bold] its own",
        "[1/4] mnist-lr solve@a ran in 10.0 s, 0:10 elapsed, about 0:36 left",
        "[3/4] mnist-lr solve@c failed after 190.0 s: ValueError: [no], 3:20 elapsed, about 0:01 left",
    ]


def test_the_seconds_of_what_ran_are_kept(path):
    with Display(STAGES, path, known=STAGES, console=Screen(terminal=False)) as display:
        display.plan(list(STAGES), 2)
        for name, how in [(A, "ran"), (B, "restored"), (C, "failed"), ("report", "stopped")]:
            display.begin(name)
            display.end(name, how, 3.0)
    assert json.loads(path.read_text()) == {A: 3.0, B: 20.0}


def test_an_interrupted_run_keeps_them_too(path):
    with pytest.raises(KeyboardInterrupt), Display(STAGES, path) as display:
        display.end(A, "ran", 4.0)
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {A: 4.0, B: 20.0, "old": 1.0}


def test_what_needs_a_failed_stage_is_not_waited_for(path):
    display = Display(STAGES, path, console=Screen(terminal=True))
    display.plan(list(STAGES), 2)
    display.begin(A)
    display.end(A, "failed", 1.0, "no")
    assert drawn(display)[0].startswith("1 of 2 ")


def test_a_terminal_has_a_bar_for_the_run_and_one_a_running_stage(path):
    screen = Screen(terminal=True)
    display = Display(STAGES, path, console=screen)
    display.plan([A, B], 2)
    display.begin(A)
    screen.now = 4.0
    display.output(A, "solving: 30 of 100, 12 s left")
    run, stage = drawn(display)
    assert run.startswith("0 of 2 ")
    assert run.endswith("0:00:04 about 0:26 left")
    assert stage.startswith("mnist-lr solve@a ")
    assert stage.endswith("0:00:04 solving: 30 of 100, 12 s left")
    assert "solving" not in screen.text
    display.end(A, "ran", 4.0)
    assert len(drawn(display)) == 1
    assert "mnist-lr solve@a ran in 4.0 s\n" in screen.text


@pytest.mark.parametrize("terminal", [True, False])
def test_without_an_earlier_run_nothing_is_guessed_until_three_stages_have_ended(
    tmp_path, terminal
):
    stages = {f"s{i}": SimpleNamespace(needs=(), alone=False) for i in range(9)}
    screen = Screen(terminal)
    display = Display(stages, tmp_path / "durations.json", console=screen)
    display.plan(list(stages), 1)
    for name in [*stages][:3]:
        screen.now += 20.0
        assert str(display) == "estimating…"
        display.begin(name)
        display.end(name, "ran", 20.0)
    screen.now += 2.0
    assert str(display) == "about 2:00 left"
    if not terminal:
        ends = [line.rpartition(", ")[2] for line in screen.text.splitlines()]
        assert ends == ["estimating…", "estimating…", "about 2:00 left"]


def test_the_time_left_goes_on_while_nothing_happens(path):
    screen = Screen(terminal=True)
    display = Display(STAGES, path, console=screen)
    display.plan([A, B], 2)
    display.begin(A)
    assert drawn(display)[0].endswith("about 0:30 left")
    screen.now = 8.0
    assert drawn(display)[0].endswith("about 0:22 left")


def test_a_failure_is_red_and_other_lines_scroll_above(path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    screen = Screen(terminal=True)
    with Display(STAGES, path, console=screen) as display:
        display.plan([A, B], 2)
        display.begin(A)
        display.output(A, "hello")
        sys.stderr.write("from elsewhere\n")
        display.end(A, "failed", 1.0, "no luck")
    assert "mnist-lr solve@a | hello\n" in screen.text
    assert "from elsewhere\n" in screen.text
    assert "\x1b[31mmnist-lr solve@a failed after 1.0 s: no luck\x1b[0m\n" in screen.text


def test_a_stage_that_is_tried_again_has_one_bar(path):
    display = Display(STAGES, path, console=Screen(terminal=True))
    display.plan([A], 1)
    display.begin(A)
    display.begin(A)
    assert len(drawn(display)) == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_threads_may_share_it(path, terminal):
    stages = {f"s{i}": SimpleNamespace(needs=(), alone=False) for i in range(80)}
    screen = Screen(terminal)

    def work(names):
        for name in names:
            display.begin(name)
            for i in range(20):
                display.output(name, f"part: {i} of 20, 1 s left")
                display.output(name, f"line {i}")
            display.end(name, "ran", 1.0)

    with Display(stages, path, console=screen) as display:
        display.live.refresh_per_second = 500
        display.plan(list(stages), 4)
        threads = [threading.Thread(target=work, args=[list(stages)[i::4]]) for i in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            display.refresh()
            time.sleep(0.001)  # else it holds the view's lock all the time
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    assert screen.text.count(" | line ") == 80 * 20
    assert screen.text.count(" ran in ") == 80


def test_names_are_short_and_seconds_are_minutes():
    assert short("settings/mnist-lr/dvc.yaml:solve@if-cg") == "mnist-lr solve@if-cg"
    assert short("report@mnist-lr") == "report@mnist-lr"
    assert [minutes(s) for s in (0, 59.9, 200, 3725)] == ["0:00", "0:59", "3:20", "62:05"]
