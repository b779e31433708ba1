"""What does not fit into the budget goes to files and in blocks, and no score changes."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from headwater.attributors import Attributor, GradCos, GradDot
from headwater.gradients.source import GradientSource
from headwater.gradients.spill import Allowance
from tests.laws import TABLE, Row
from tests.problems import Problem, perturbed, split

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=TABLE)
def row(request: pytest.FixtureRequest) -> Row:
    return TABLE[request.param]


def _answers(row: Row, problem: Problem, **task: Any) -> tuple[torch.Tensor, torch.Tensor]:
    checkpoints = [perturbed(problem.model, c) for c in range(row.checkpoints)]
    attributor = row.attributor(problem, checkpoints, **task)
    train, test = split(problem.train, 4), split(problem.test, 2)
    attributor.cache(train)
    return attributor.attribute(train, test), attributor.self_influence(train)


def test_gradients_in_files_change_no_bit(row: Row, problem: Problem, monkeypatch) -> None:
    wanted = _answers(row, problem)
    monkeypatch.setattr(Allowance, "fits", lambda self, size: False)
    found = _answers(row, problem)
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize("budget", [1, 3000])
def test_a_budget_that_holds_next_to_nothing_is_enough(
    row: Row, problem: Problem, budget: int
) -> None:
    wanted = _answers(row, problem)
    for found, whole in zip(_answers(row, problem, memory_budget=budget), wanted, strict=True):
        assert torch.allclose(found, whole, rtol=1e-4, atol=1e-6 * float(whole.abs().max()))


def test_test_samples_go_in_blocks_where_their_solutions_do_not_fit(problem: Problem) -> None:
    class Wide(GradDot):
        """Needs a hundred numbers per test sample."""

        one_pass = False

        seen: list[int]

        def solved_width(self, source: GradientSource) -> int:
            return 100

        def solve(self, source: GradientSource, state):
            self.seen.append(len(source.test()))
            assert sum(len(batch[0]) for batch in source.test_batches) == self.seen[-1]
            return {}

    found = {}
    for budget in ("10MB", 4 * 2 * 100 * 8 + 4 * 8 * 2 * 100):
        attributor: Any = Wide(problem.task(memory_budget=budget))
        attributor.seen = []
        attributor.cache([problem.train])
        found[budget] = attributor.attribute([problem.train], split(problem.test, 2))
        assert sum(attributor.seen) == 5
        assert len(attributor.seen) == (1 if budget == "10MB" else 2)
    few, many = found.values()
    assert torch.allclose(few, many, rtol=1e-6)


@pytest.mark.parametrize("kind", [GradDot, GradCos])
def test_what_memory_does_not_take_is_captured_anew_for_one_pass(
    kind: type[GradDot | GradCos], problem: Problem, monkeypatch
) -> None:
    train, test = split(problem.train, 3), split(problem.test, 2)
    whole = kind(problem.task()).cache(train)
    assert whole._sources[0].gradients.size > 0
    monkeypatch.setattr(Allowance, "fits", lambda self, size: False)
    anew = kind(problem.task()).cache(train)
    assert torch.allclose(anew.attribute(train, test), whole.attribute(train, test), rtol=1e-6)
    assert torch.allclose(anew.self_influence(train), whole.self_influence(train), rtol=1e-6)
    assert anew._sources[0].gradients.size == 0, "nothing is kept, in memory or in files"


def test_an_attributor_leaves_nothing_behind(problem: Problem, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Allowance, "fits", lambda self, size: False)
    monkeypatch.setattr(GradDot, "one_pass", False)
    attributor: Attributor = GradDot(problem.task()).cache([problem.train])
    attributor.attribute([problem.train], [problem.test])
    assert len(list(tmp_path.iterdir())) == 1, "test gradients have gone"
    gc.disable()
    try:
        del attributor
        assert not list(tmp_path.iterdir())
    finally:
        gc.enable()


def test_scores_that_do_not_fit_are_refused_with_the_way_out(problem: Problem, monkeypatch) -> None:
    attributor = GradDot(problem.task()).cache([problem.train])
    monkeypatch.setattr("headwater.memory.available_bytes", lambda device: 4 * 9 * 5 - 1)
    with pytest.raises(MemoryError, match=r"9 x 5 scores needs .*pass out= with the path"):
        attributor.attribute([problem.train], [problem.test])


def test_a_data_set_larger_than_the_budget() -> None:
    # Data and gradients take 650 MB.
    command = [sys.executable, "-m", "tests.larger_than_memory", "200MB"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    assert found["grown"] < 250e6, f"memory grew by {found['grown'] / 1e6:.0f} MB"
    assert found["error"] < 1e-5
    assert found["passes"] == 4, "cache, and the first batch three times"


def test_a_mapped_file_does_not_grow_memory_with_the_scores(tmp_path: Path) -> None:
    script = (
        "import resource, sys, numpy as np, torch\n"
        "from headwater.attributors.scoring import scores_into\n"
        "from headwater.attributors.method import Method\n"
        "class One(Method):\n"
        "    def score(self, source, solved):\n"
        "        for i in range(0, 100_000, 1000):\n"
        "            yield slice(i, i + 1000), torch.ones(1000, 1000)\n"
        "    def self_score(self, source, state): ...\n"
        "out = np.lib.format.open_memmap(sys.argv[1], 'w+', np.float32, (100_000, 1000))\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak()\n"
        "scores_into(One(None), out, [None] * 2, [{}] * 2)\n"
        "print(peak() - before, float(out[-1].min()))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "scores.npy")]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    grown, value = map(float, done.stdout.split())
    assert value == 1.0
    assert grown < 100e6, f"400 MB of scores took {grown / 1e6:.0f} MB"
