"""Official archives: unpacked only if they have the known bytes, and whole or not at all."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from headwater.benchmark.datasets.download import file_checksum

__all__ = ["unpack"]

_BLOCK = 1 << 20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)


class _Member(NamedTuple):
    """A name in an archive and its content; None for a folder."""

    name: str
    size: int
    content: IO[bytes] | None


def unpack(archive: Path, folder: Path, sha256: str) -> Path:
    """Unpack a .tar.gz or .zip file into a new folder, which appears in one step.

    Only plain files and folders with relative names come out: no links, no devices, no owners, no
    permissions.

    Args:
        archive: the file.
        folder: where its content goes; kept as it is if it exists.
        sha256: expected hexadecimal digest of the archive, verified before anything is read.

    Returns:
        The folder.

    Raises:
        ValueError: if the archive has another checksum, is broken, or holds a link, a name that
            leads out of the folder, or a name twice.
    """
    if folder.is_dir():
        return folder
    found = file_checksum(archive)
    if found != sha256:
        raise ValueError(
            f"{archive.name} must have sha256 {sha256}, got {found}: remove it and fetch it again"
        )
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        _write_members(archive, partial)
        _move_into_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_members(archive: Path, folder: Path) -> None:
    """Write all members into a folder."""
    seen: set[PurePosixPath] = set()
    members = _members(archive)
    while member := _next(members, archive):
        path = _relative(member.name, archive)
        if path in seen:
            raise _refused(archive, "each name once", f"{member.name!r} twice")
        seen.add(path)
        try:
            _write(member, folder / path)
        except _BROKEN as error:
            raise _refused(
                archive, "files that can be read", f"{member.name!r}: {error}"
            ) from error


def _next(members: Iterator[_Member], archive: Path) -> _Member | None:
    try:
        return next(members, None)
    except _BROKEN as error:
        raise _refused(archive, "a whole archive", str(error)) from error


def _write(member: _Member, path: Path) -> None:
    """Write one file, with as many bytes as the archive says, or make one folder."""
    if member.content is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file, member.content:
        shutil.copyfileobj(member.content, file)
        if file.tell() != member.size:
            raise EOFError(f"{file.tell()} of {member.size} bytes")


def _members(archive: Path) -> Iterator[_Member]:
    """Yield the members in order, by the kind of archive that its name says."""
    if archive.name.endswith(".tar.gz"):
        return _tar_members(archive)
    if archive.name.endswith(".zip"):
        return _zip_members(archive)
    raise ValueError(f"an archive must be a .tar.gz or .zip file, got {archive.name}: repack it")


def _tar_members(archive: Path) -> Iterator[_Member]:
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for entry in tar:
            if not (entry.isfile() or entry.isdir()):
                raise _refused(archive, "plain files and folders only", f"{entry.name!r}")
            yield _Member(entry.name, entry.size, tar.extractfile(entry))
        while stream.read(_BLOCK):  # to its end, where its own checksum is
            pass


def _zip_members(archive: Path) -> Iterator[_Member]:
    with closing(zipfile.ZipFile(archive)) as file:
        for entry in file.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, "plain files and folders only", f"{entry.filename!r}")
            content = None if entry.is_dir() else file.open(entry)
            yield _Member(entry.filename, entry.file_size, content)


def _relative(name: str, archive: Path) -> PurePosixPath:
    """Return a member's name as a path below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name:
        raise _refused(archive, "names within its folder only", repr(name))
    return path


def _move_into_place(partial: Path, folder: Path) -> None:
    """Rename, unless another process has just made the same folder."""
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _refused(archive: Path, must: str, got: str) -> ValueError:
    return ValueError(f"{archive.name} must hold {must}, got {got}: fetch the official archive")
