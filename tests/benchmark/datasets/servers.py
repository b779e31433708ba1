"""Official archives as a server has them, built from a folder."""

import http.server
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from functools import partial


def pack(folder, archive):
    """Write the files of a folder into a .tar.gz or .zip, and return its path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in paths:
                file.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w:gz") as file:
            for path in paths:
                file.add(path, path.relative_to(folder))
    return archive


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def answering(handler):
    """Serve on this machine with a request handler, and yield the address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def served(folder):
    """Serve a folder on this machine; a context manager that yields the address."""
    return answering(partial(Quiet, directory=folder))
