"""Verified downloads of official archives."""

import hashlib
import logging
import os
import urllib.request
from pathlib import Path

__all__ = ["download_verified", "file_checksum"]

_LOGGER = logging.getLogger(__name__)
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 60.0


def download_verified(url: str, destination: Path, sha256: str) -> Path:
    """Download a file once, verify its checksum, and move it into place in one step.

    A file that is already there is verified and kept; a broken or partial one is replaced.

    Args:
        url: Address of the file.
        destination: Where it goes; missing folders are made.
        sha256: Expected hexadecimal digest.

    Returns:
        The destination.

    Raises:
        ValueError: If the downloaded bytes have another checksum.
        OSError: If the address cannot be read.
    """
    if destination.exists() and file_checksum(destination) == sha256:
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f"{destination.name}.{os.getpid()}.partial")
    try:
        _stream(url, partial)
        found = file_checksum(partial)
        if found != sha256:
            raise ValueError(
                f"{url} must have sha256 {sha256}, got {found}: "
                "try again, or set HEADWATER_DATA_MIRROR to a folder that holds the data"
            )
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    return destination


def file_checksum(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stream(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, path.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        done, reported = 0, 0
        while block := response.read(_BLOCK):
            file.write(block)
            done += len(block)
            if total and 10 * done // total > reported:
                reported = 10 * done // total
                _LOGGER.info("%s: %d of %d MB", path.name, done >> 20, total >> 20)
