"""Every test is quiet and offline, starts from one seed, and leaves the user's folders alone."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipelines import environment

ROOT = Path(__file__).resolve().parent.parent
_HOME = tempfile.TemporaryDirectory(prefix="headwater-tests-")

# Before Prefect or DVC is imported: both read the environment then.
os.environ.pop("PREFECT_API_URL", None)
os.environ["PREFECT_HOME"] = f"{_HOME.name}/prefect"
os.environ["DVC_SITE_CACHE_DIR"] = f"{_HOME.name}/dvc"
os.environ["MPLBACKEND"] = "agg"
environment.quiet(ROOT)


@pytest.fixture(autouse=True)
def seed() -> int:
    """The seed that PyTorch's global generator has at the start of each test."""
    torch.manual_seed(0)
    return 0


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder with the real data sets; a test that needs it fails where it is missing."""
    folder = (ROOT / os.environ.get("HEADWATER_DATA_MIRROR", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.fail(
            f"HEADWATER_DATA_MIRROR must be a folder with the data sets, got {folder}: "
            "set it to where they lie"
        )
    return folder


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A Prefect server with an empty database, for the whole session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
