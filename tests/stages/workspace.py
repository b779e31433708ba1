"""A throw-away copy of the project, in which the real graph runs on the smoke configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.smoke import copy_project

ROOT = Path(__file__).parents[2]
PARAMS = Path("tests/stages/params.yaml")


class Workspace:
    """The project in another folder, and commands that run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, folder: Path) -> Workspace:
        """Copy the project's sources into a folder, with the smoke configuration."""
        copy_project(ROOT, folder, PARAMS)
        return cls(folder)

    def copy(self, folder: Path) -> Workspace:
        """Copy the workspace; what DVC made is linked, it is never written in place."""
        shutil.copytree(self.folder, folder, copy_function=_link_artifacts, symlinks=True)
        return Workspace(folder)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``python -m ARGUMENTS``."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    @property
    def environment(self) -> dict[str, str]:
        """The environment with this interpreter first, so that dvc.yaml's `python` is it."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        site = str(self.folder / ".dvc" / "site")
        threads = os.environ.get("OMP_NUM_THREADS", "1")
        return {
            **os.environ, "PATH": path, "DVC_SITE_CACHE_DIR": site, "OMP_NUM_THREADS": threads,
        }  # fmt: skip

    def commit_all(self) -> None:
        """Make it a git repository with one commit."""
        (self.folder / ".dvc" / "config.local").unlink()
        (self.folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n/site\n")
        for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "All")):
            self.git(*words)

    def git(self, *words: str) -> None:
        """Run git as nobody in particular."""
        who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        subprocess.run(["git", *who, *words], cwd=self.folder, check=True, capture_output=True)

    def params(self) -> Any:
        """Read params.yaml."""
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def edit(self, *keys: str, value: object) -> None:
        """Set a value of params.yaml; None removes it."""
        params = place = self.params()
        for key in keys[:-1]:
            place = place[key]
        if value is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def comment(self, source: str) -> None:
        """Add a comment to a source file."""
        with open(self.folder / source, "a") as file:
            file.write("# a comment\n")

    def stale(self) -> set[str]:
        """Return the stages that DVC would run for a change of their own, once `code` has run."""
        self.run("dvc", "repro", "-s", "code")
        script = (
            "from dvc.repo import Repo\n"
            "with Repo() as repo: print(*sorted(repo.status()), sep='\\n')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return {_short(name) for name in done.stdout.split()}

    def locked(self) -> dict[str, dict[str, str]]:
        """Return the hash of every out of every stage, as the lock files record them."""
        locks = [self.folder / "dvc.lock", *self.folder.glob("settings/*/dvc.lock")]
        return {
            name: {out["path"]: out["md5"] for out in stage.get("outs", [])}
            for lock in locks
            for name, stage in yaml.safe_load(lock.read_text())["stages"].items()
        }


def changed(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> set[str]:
    """Return the stages whose outs are others, but for what says how long they took."""
    return {name for name in after if _content(before.get(name)) != _content(after[name])}


def _content(outs: dict[str, str] | None) -> dict[str, str] | None:
    timed = ("artifacts/cost/", "results/")
    return outs and {path: md5 for path, md5 in outs.items() if not path.startswith(timed)}


def _short(address: str) -> str:
    """Return the name of a stage without the file that it stands in; the smoke graph has one setting."""
    return address.rpartition(":")[2]


def _link_artifacts(source: str, target: str) -> None:
    made = {"artifacts", "cache"} & set(Path(source).parts)
    (os.link if made else shutil.copy2)(source, target)
