"""One finished workspace for all tests of the graph."""

import pytest

from tests.stages.finished import finished


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """A workspace in which the flow has made everything; copy it before you change it."""
    return finished(tmp_path_factory)[0]


@pytest.fixture
def workspace(done, tmp_path):
    """A copy of the finished workspace."""
    return done.copy(tmp_path / "copy")


@pytest.fixture
def repository(workspace):
    """A copy of the finished workspace in git, all that git tracks committed."""
    workspace.commit_all()
    return workspace
