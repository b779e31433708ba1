"""What a download says when the network does not bring it; nothing half-written is left."""

import hashlib
import http.server
import socket
import time

import pytest

from headwater.benchmark.datasets import download
from headwater.benchmark.datasets.official import OfficialArchive, find_official
from tests.benchmark.datasets.servers import answering

DIGITS = b"digits" * 100_000
DIGEST = hashlib.sha256(DIGITS).hexdigest()
WHAT_TO_DO = r": try again, or set HEADWATER_DATA_MIRROR to a folder that holds the data$"


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def start(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()


class Missing(Answer):
    def do_GET(self):
        self.send_error(404)


class Busy(Answer):
    def do_GET(self):
        self.send_error(503)


class Short(Answer):
    def do_GET(self):
        self.start(len(DIGITS))
        self.wfile.write(DIGITS[:1000])


class Silent(Answer):
    def do_GET(self):
        self.start(len(DIGITS))
        self.wfile.write(DIGITS[:1000])
        self.wfile.flush()
        time.sleep(1.0)


class Garbage(Answer):
    def do_GET(self):
        self.wfile.write(b"no HTTP at all\r\n\r\n")


@pytest.mark.parametrize(
    ("handler", "came"),
    [
        (Missing, "HTTP 404 Not Found"),
        (Busy, "HTTP 503 Service Unavailable"),
        (Short, f"1000 of {len(DIGITS)} bytes"),
        (Silent, "timed out"),
        (Garbage, "no HTTP at all"),
    ],
)
def test_what_came_in_place_of_a_file_is_said_in_one_line(handler, came, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.delenv("HEADWATER_DATA_MIRROR", raising=False)
    with answering(handler) as address:
        url = address + "set.tar.gz"
        source = OfficialArchive("set", url, DIGEST)
        message = rf"^set.tar.gz must be downloaded from {url}, got {came}{WHAT_TO_DO}"
        with pytest.raises(ConnectionError, match=message):
            find_official("set", "a", source, tmp_path / "downloads")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "downloads/set").exists(), "a folder would be taken for whole"


def test_an_address_without_a_server_is_said_in_one_line(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/set.zip"
        with pytest.raises(ConnectionError, match=rf"set.zip .* {url}, got .*refused{WHAT_TO_DO}"):
            download.download_verified(url, tmp_path / "downloads/set.zip", DIGEST)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_stays_as_it_is_when_the_network_fails(tmp_path):
    target = tmp_path / "set.zip"
    target.write_bytes(b"older")
    with answering(Missing) as address, pytest.raises(ConnectionError, match="HTTP 404"):
        download.download_verified(address + "set.zip", target, DIGEST)
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]
    assert target.read_bytes() == b"older"


def test_a_full_disk_is_not_taken_for_the_network(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "source.bin").write_bytes(DIGITS)
    monkeypatch.setattr(download, "_write", full)
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left"):
        download.download_verified(
            (tmp_path / "source.bin").as_uri(), tmp_path / "downloads/set.zip", DIGEST
        )
