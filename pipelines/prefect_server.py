"""A private Prefect server for the time of one flow; it ends with the flow, however that ends."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines import leash

_SECONDS_TO_START = 120.0


class ServerError(RuntimeError):
    """The private server did not start; the message says where its log is."""


@contextmanager
def server() -> Iterator[bool]:
    """Make sure that a flow finds an API at ``PREFECT_API_URL``: the user's own, or a private one.

    Enter it before Prefect is imported, which reads the variable then.

    Yields:
        Whether the server is a private one, which no other flow uses.

    Raises:
        ServerError: The private server ended, or did not answer in two minutes.
    """
    if "PREFECT_API_URL" in os.environ:
        yield False
        return
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    with (home / "server.log").open("w") as log:
        process = leash.start(
            "pipelines.prefect_server",
            str(port),
            environment={"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"},
            output=log,
        )
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        try:
            _wait_until_healthy(process, home / "server.log")
            yield True
        finally:
            del os.environ["PREFECT_API_URL"]
            leash.end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[str], log: Path) -> None:
    url = os.environ["PREFECT_API_URL"] + "/health"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise ServerError(f"Prefect's server must answer on {url} and does not: its log is {log}")


def main() -> None:
    """Serve Prefect's API on the port given, on the leash of the process that started it."""
    leash.hold()
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
    )


if __name__ == "__main__":
    main()
