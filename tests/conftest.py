"""Every test is quiet and offline, starts from one seed, and leaves the user's folders alone."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipelines import environment
from stages.device import resolve_device
from tests.precision import TOLERANCE

ROOT = Path(__file__).resolve().parent.parent
_HOME = tempfile.TemporaryDirectory(prefix="headwater-tests-")

# Before Prefect or DVC is imported: both read the environment then.
os.environ.pop("PREFECT_API_URL", None)
os.environ["PREFECT_HOME"] = f"{_HOME.name}/prefect"
os.environ["DVC_SITE_CACHE_DIR"] = f"{_HOME.name}/dvc"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"
environment.quiet(ROOT)


@pytest.fixture(autouse=True)
def seed() -> int:
    """The seed that PyTorch's global generator has at the start of each test."""
    torch.manual_seed(0)
    return 0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where, and in which numbers, the tests with the fixtures below compute."""
    parser.addoption("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    parser.addoption(
        "--dtype", default="float64", choices=[str(d).removeprefix("torch.") for d in TOLERANCE]
    )


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of `--device`."""
    return resolve_device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtype of `--dtype`."""
    return getattr(torch, request.config.getoption("--dtype"))


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
