"""One finished workspace for all tests of the graph."""

import pytest

from tests.stages.workspace import Workspace


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """A workspace in which the flow has made everything; copy it before you change it."""
    workspace = Workspace.make(tmp_path_factory.mktemp("made") / "done")
    workspace.run("pipelines.benchmark")
    return workspace


@pytest.fixture
def workspace(done, tmp_path):
    """A copy of the finished workspace."""
    return done.copy(tmp_path / "copy")


@pytest.fixture
def repository(workspace):
    """A copy of the finished workspace in git, all that git tracks committed."""
    workspace.commit_all()
    return workspace
