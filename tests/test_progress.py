"""Progress shows itself where somebody looks, and never changes what passes through it."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest

from headwater import progress
from headwater.progress import track


class Clock:
    """A clock that goes on by a fixed step at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _generated(n: int) -> Iterator[int]:
    yield from range(n)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("items", [[], [1, 2, 3], range(5)], ids=str)
def test_items_pass_through(items, terminal, monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal() if terminal else io.StringIO())
    assert list(track(items, "work")) == list(items)
    assert list(track(_generated(4), "work")) == [0, 1, 2, 3]


def test_long_work_is_logged_now_and_then(monkeypatch, caplog) -> None:
    monkeypatch.delenv("HEADWATER_PROGRESS_SECONDS", raising=False)
    monkeypatch.setattr(progress, "time", Clock(step=3.0))
    with caplog.at_level(logging.INFO, logger="headwater.progress"):
        list(track(range(10), "gradients"))
    assert caplog.messages[0] == "gradients: 4 of 10, 18 s left"
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(("seconds", "lines"), [("0", 10), ("6", 5), ("", 2), ("1e9", 0)])
def test_the_environment_says_how_often(seconds, lines, monkeypatch, caplog) -> None:
    monkeypatch.setenv("HEADWATER_PROGRESS_SECONDS", seconds)
    monkeypatch.setattr(progress, "time", Clock(step=3.0))
    with caplog.at_level(logging.INFO, logger="headwater.progress"):
        list(track(range(10), "gradients of loss (train)"))
    assert len(caplog.messages) == lines
    for line in caplog.messages:
        assert re.fullmatch(r"(.+): (\d+) of (\d+), (\d+) s left", line)


@pytest.mark.parametrize("seconds", ["often", "-1", "nan"])
def test_what_is_no_number_of_seconds_is_refused(seconds, monkeypatch) -> None:
    monkeypatch.setenv("HEADWATER_PROGRESS_SECONDS", seconds)
    with pytest.raises(ValueError, match=f"must be a number of seconds >= 0, got '{seconds}'"):
        list(track(range(3), "gradients"))


def test_long_work_of_unknown_length_is_logged(monkeypatch, caplog) -> None:
    monkeypatch.delenv("HEADWATER_PROGRESS_SECONDS", raising=False)
    monkeypatch.setattr(progress, "time", Clock(step=11.0))
    with caplog.at_level(logging.INFO, logger="headwater.progress"):
        list(track(_generated(2), "gradients"))
    assert caplog.messages == ["gradients: 1", "gradients: 2"]


def test_short_work_is_quiet(caplog, monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    list(track(range(3), "gradients"))
    assert terminal.getvalue() == "", "not even an empty line"
    assert not caplog.messages


def test_the_bar_is_drawn_on_stderr_only(monkeypatch) -> None:
    shown, output = Terminal(), Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    list(track(range(3), "gradients"))
    assert output.getvalue() == "", "results on stdout must not be mixed with a progress bar"
    assert "gradients" in shown.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_level_above_warnings_silences_it(terminal, monkeypatch, caplog) -> None:
    shown = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
    monkeypatch.setenv("HEADWATER_PROGRESS_SECONDS", "0")
    with caplog.at_level(logging.ERROR, logger="headwater"):
        assert list(track(range(3), "gradients")) == [0, 1, 2]
    assert shown.getvalue() == ""
    assert not caplog.messages


def test_an_error_in_the_loop_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        for i in track([1, 0], "work"):
            _ = 1 / i
