"""What the tests of the laws and the table share."""

from __future__ import annotations

import pytest

from tests.problems import PROBLEMS, Problem


@pytest.fixture
def problem(request: pytest.FixtureRequest) -> Problem:
    """The problem of the row that is tested."""
    row = request.getfixturevalue("row") if "row" in request.fixturenames else None
    return PROBLEMS[row.problem if row else "mlp"]()
