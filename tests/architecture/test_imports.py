"""Importing the library is no more than importing its own few files: by what is loaded, not by time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.architecture.imports import ROOT

HEAVY = {"torch", "numpy", "scipy", "zarr", "rich", "safetensors", "transformers", "lightning"}


def _loaded(statement: str) -> set[str]:
    """Return the top-level packages that a fresh process has after a statement."""
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_importing_headwater_loads_no_other_package() -> None:
    statement = "import headwater, headwater.attributors; headwater.attributors.method_names()"
    assert not _loaded(statement) & HEAVY


@pytest.mark.parametrize(
    "statement",
    [
        "from headwater import AttributionTask",
        "from headwater.recording import CheckpointRecorder",
    ],
)
def test_a_task_and_a_recorder_load_little_beside_pytorch(statement: str) -> None:
    loaded = _loaded(statement)
    assert "torch" in loaded
    assert not loaded & (HEAVY - {"torch", "numpy", "safetensors"})
