"""A finished workspace, and the command line in it: in this process where nothing is run."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from pipelines.cli import app
from tests.stages.finished import finished


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A workspace in which the command line has made everything; nobody changes what is in it."""
    workspace, workspace.shown = finished(tmp_path_factory)
    return workspace


@pytest.fixture
def changed(made, tmp_path):
    """A copy of it to be changed."""
    return made.copy(tmp_path / "copy")


@pytest.fixture
def ask(made, monkeypatch):
    """Call the command line in the workspace, or in a folder; return its exit code and output."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments, folder=made.folder):
        monkeypatch.chdir(folder)
        # Known already, the folder is not put before this project: its modules would stay loaded.
        monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
        found = CliRunner().invoke(app, [str(argument) for argument in arguments])
        text = found.stdout
        return SimpleNamespace(
            code=found.exit_code, out=text, err=found.stderr, error=found.exception,
            record=json.loads(text) if "--json" in arguments and text else None,
        )  # fmt: skip

    yield call
    torch.set_num_threads(threads)


@pytest.fixture
def refused(ask):
    """Call a command that cannot do what is asked, and return the one line that says so."""

    def call(*arguments, **where):
        found = ask(*arguments, **where)
        assert found.code == 2, found.out + found.err
        assert not found.out
        assert found.err.startswith("headwater: ") and found.err.count("\n") == 1, found.err
        return found.err

    return call
