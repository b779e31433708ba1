from pathlib import Path

import pytest
import torch

from benchmarks.parity import check, nets
from benchmarks.parity.__main__ import PEERS, run_check
from headwater.attributors import GradDot


def test_a_check_fails_on_a_difference_a_nan_and_an_exception() -> None:
    one, other = torch.ones(2), torch.tensor([1.0, 1.1])
    assert run_check(check.Check("same", lambda: (one, one)))[0]
    assert not run_check(check.Check("other", lambda: (one, other)))[0]
    assert not run_check(check.Check("nan", lambda: (one, one * torch.nan)))[0]
    good, text = run_check(check.Check("error", lambda: 1 / 0))
    assert not good
    assert "ZeroDivisionError" in text
    good, text = run_check(check.Check("shape", lambda: (one, one[:1])))
    assert not good
    assert "one shape" in text


def test_a_scale_is_taken_out_but_no_sign() -> None:
    one = torch.tensor([1.0, -2.0])
    assert torch.allclose(check.scaled_to(one, 3 * one), one)
    with pytest.raises(ValueError, match="sign"):
        check.scaled_to(one, -one)


def test_every_peer_has_its_checks() -> None:
    folder = Path(nets.__file__).parent
    shared = {"__init__", "__main__", "check", "nets"}
    assert {path.stem for path in folder.glob("*.py")} - shared >= set(PEERS)


def test_the_small_problems_are_trained_and_in_float64() -> None:
    for problem, size in ((nets.mlp(), 39), (nets.regression(), 18)):
        task = problem.task()
        assert task.layout.size == size
        assert next(problem.model.parameters()).dtype == torch.float64
        assert problem.scores(GradDot(task)).shape == (nets.N_TRAIN, nets.N_TEST)
        first, last = problem.states
        assert any(not torch.equal(first[name], last[name]) for name in first)
