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

_SECONDS_TO_START = 120.0
_PROGRAM = """
import os, sys, threading, uvicorn
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
app = "prefect.server.api.server:create_app"
uvicorn.run(app, factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


class ServerError(RuntimeError):
    """The private server did not start; the message says where its log is."""


@contextmanager
def server() -> Iterator[None]:
    """Make sure that a flow finds an API at ``PREFECT_API_URL``: the user's own, or a private one.

    Enter it before Prefect is imported, which reads the variable then.

    Raises:
        ServerError: The private server ended, or did not answer in two minutes.
    """
    if "PREFECT_API_URL" in os.environ:
        yield
        return
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, port],
            stdin=subprocess.PIPE,  # it ends when this is closed
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the flow
            env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"},
        )
    os.environ["PREFECT_API_URL"] = url = f"http://127.0.0.1:{port}/api"
    try:
        if not _answers(process, f"{url}/health"):
            raise ServerError(f"Prefect's server must answer on {url} and does not: see {log}")
        yield
    finally:
        del os.environ["PREFECT_API_URL"]
        process.communicate()


def _answers(process: "subprocess.Popen[bytes]", url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(url, timeout=5):
                return True
        except OSError:
            time.sleep(0.1)
    return False
