"""A Prefect server of the kind that several machines share."""

import os
import subprocess
import sys
import urllib.request

import pytest

from tests.pipelines import toy


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The variables with which a process uses it."""
    folder = tmp_path_factory.mktemp("server")
    port = toy.free_port()
    url = f"http://127.0.0.1:{port}/api"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env={**os.environ, "PREFECT_HOME": str(folder), "PREFECT_UI_ENABLED": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def answers():
        assert process.poll() is None, (folder / "log").read_text()
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1).close()
        except OSError:
            return False
        return True

    toy.wait_until(answers, 120)
    yield {"PREFECT_API_URL": url, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
    os.killpg(process.pid, 9)
    process.wait()
