"""What DVC says of its cache and remotes, and the files of other revisions; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.api import DVCFileSystem
from dvc.config import NoRemoteError
from dvc.exceptions import DvcException
from dvc.repo import Repo
from scmrepo.exceptions import SCMError

from pipelines import environment

__all__ = ["Storage", "RepositoryError", "read", "revision", "storage"]


class RepositoryError(RuntimeError):
    """DVC or git cannot tell; one line that says why."""


@dataclass(frozen=True)
class Storage:
    """Where artifacts are kept: the cache, and the default remote by name and address, if any."""

    cache: Path
    links: tuple[str, ...]
    remote: str
    address: str
    local: bool


def storage() -> Storage:
    """Return where the repository of the current folder keeps artifacts.

    Raises:
        RepositoryError: DVC cannot tell.
    """
    environment.quiet_dvc()
    try:
        with Repo() as repo:
            cache = Path(repo.cache.local.path)
            links = repo.config["cache"].get("type") or ["reflink", "copy"]
            try:
                remote = repo.cloud.get_remote()
            except NoRemoteError:
                return Storage(cache, tuple(links), "", "", False)
            local = remote.fs.protocol == "local"
            address = remote.path if local else str(repo.config["remote"][remote.name]["url"])
            return Storage(cache, tuple(links), remote.name, address, local)
    except DvcException as error:
        raise _in_one_line(error) from error


def revision(name: str) -> Any:
    """Return a file system of the repository at a git revision, outs of DVC among its files.

    Raises:
        RepositoryError: there is no such revision, or the folder is not in git.
    """
    environment.quiet_dvc()
    try:
        files = DVCFileSystem(rev=name)
        files.ls("/", detail=False)  # it looks for the revision only when it is asked for something
        return files
    except (SCMError, DvcException) as error:
        raise RepositoryError(
            f"{name!r} must be a folder of results or a git revision, got neither: correct it ({error})"
        ) from error


def read(files: Any, path: str) -> bytes:
    """Return the bytes of a file at a revision: from git, the cache or a remote.

    Raises:
        FileNotFoundError: the revision has no such file.
        RepositoryError: it is in neither the cache nor a remote.
    """
    try:
        with files.open(path, "rb") as file:
            return bytes(file.read())
    except DvcException as error:
        raise _in_one_line(error) from error


def _in_one_line(error: Exception) -> RepositoryError:
    return RepositoryError(" ".join(f"DVC: {error} {error.__cause__ or ''}".split()))
