"""Where the official files of a data set lie: in a mirror, or downloaded and verified."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from headwater.benchmark.datasets.archives import unpack
from headwater.benchmark.datasets.download import download_verified

__all__ = ["MIRROR", "OfficialArchive", "OfficialFile", "Source", "find_official"]

MIRROR = "HEADWATER_DATA_MIRROR"


class Source(Protocol):
    """What brings official files to this machine."""

    def fetch(self, downloads: Path) -> Path:
        """Return the folder of the data set below `downloads`, with what it brings in it."""


@dataclass(frozen=True)
class OfficialFile:
    """A file that is downloaded and kept as it is.

    Args:
        data_set: folder below `downloads` that it goes to.
        url: address, which ends with the file's name.
        sha256: hexadecimal digest.
    """

    data_set: str
    url: str
    sha256: str

    def fetch(self, downloads: Path) -> Path:
        """Download the file unless it is there, and return its folder."""
        folder = downloads / self.data_set
        download_verified(self.url, folder / PurePosixPath(self.url).name, self.sha256)
        return folder


@dataclass(frozen=True)
class OfficialArchive:
    """A .tar.gz or .zip archive that is downloaded and unpacked once.

    Args:
        data_set: folder below `downloads` that has its content, laid out as in a mirror.
        url: address, which ends with the archive's name.
        sha256: hexadecimal digest.
    """

    data_set: str
    url: str
    sha256: str

    def fetch(self, downloads: Path) -> Path:
        """Download and unpack the archive unless that was done, and return the folder.

        Raises:
            ValueError: If the checksum differs, or the archive is not safe.
        """
        folder = downloads / self.data_set
        if folder.is_dir():
            return folder  # it appears only when all of a verified archive is in it
        archive = downloads / PurePosixPath(self.url).name
        download_verified(self.url, archive, self.sha256)
        return unpack(archive, folder, self.sha256)


def find_official(data_set: str, file: str, source: Source, downloads: Path) -> Path:
    """Return the path of an official file.

    With $HEADWATER_DATA_MIRROR it is $HEADWATER_DATA_MIRROR/data_set/file, taken as it is and never
    downloaded; else `file` in the folder that the source brings.

    Args:
        data_set: folder of the mirror.
        file: path below that folder, the same in both places.
        source: what brings the file where there is no mirror.
        downloads: folder of all that is downloaded.

    Raises:
        FileNotFoundError: If the mirror, or the official archive, lacks the file.
        ValueError: If the source refuses what it has downloaded.
    """
    mirror = os.environ.get(MIRROR)
    if mirror:
        path = Path(mirror) / data_set / file
        if not path.is_file():
            raise FileNotFoundError(
                f"${MIRROR} must hold {data_set}/{file}, got {mirror} without it: "
                "correct or unset the variable"
            )
        return path
    folder = source.fetch(downloads)
    if not (folder / file).is_file():
        raise FileNotFoundError(
            f"{folder} must hold {file}, got a folder without it: remove the folder, it is made again"
        )
    return folder / file
