"""Verified downloads of official archives."""

import hashlib
import logging
import os
import ssl
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

__all__ = ["download_verified", "file_checksum"]

_LOGGER = logging.getLogger(__name__)
_BLOCK = 1 << 20
_TIMEOUT_SECONDS = 60.0
_WHAT_TO_DO = "try again, or set HEADWATER_DATA_MIRROR to a folder that holds the data"
_NETWORK = (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


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
        ConnectionError: If the address cannot be read to its end.
    """
    if destination.exists() and file_checksum(destination) == sha256:
        return destination
    partial = destination.with_name(f"{destination.name}.{os.getpid()}.partial")
    try:
        _stream(url, partial)
        found = file_checksum(partial)
        if found != sha256:
            raise ValueError(f"{url} must have sha256 {sha256}, got {found}: {_WHAT_TO_DO}")
        partial.replace(destination)
    except _NETWORK as error:
        raise ConnectionError(
            f"{destination.name} must be downloaded from {url}, got {_words(error)}: {_WHAT_TO_DO}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return destination


def file_checksum(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _words(error: Exception) -> str:
    """Return what came in place of a file, in one line."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = error.reason if isinstance(error, URLError) else error
    return " ".join(str(reason).split()) or type(reason).__name__


def _stream(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        path.parent.mkdir(parents=True, exist_ok=True)  # only now that there is something to write
        _write(response, path)


def _write(response: Any, path: Path) -> None:
    with path.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        done, reported = 0, 0
        while block := response.read(_BLOCK):
            file.write(block)
            done += len(block)
            if total and 10 * done // total > reported:
                reported = 10 * done // total
                _LOGGER.info("%s: %d of %d MB", path.name, done >> 20, total >> 20)
    if done < total:
        raise ConnectionError(f"{done} of {total} bytes")
