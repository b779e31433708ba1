"""A throw-away copy of the project, in which the real graph runs on the smoke configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = (
    "headwater", "stages", "pipelines", "data", "dvc.yaml", "params.smoke.yaml", ".dvcignore",
    ".gitignore",
)  # fmt: skip


class Workspace:
    """The project in another folder, and commands that run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, folder: Path) -> Workspace:
        """Copy the project's sources into a folder, with the smoke configuration."""
        ignore = shutil.ignore_patterns("__pycache__", "downloads")
        for name in PROJECT:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignore)
            else:
                shutil.copy(source, folder / name)
        (folder / ".dvc").mkdir()
        config = (ROOT / ".dvc" / "config").read_text()
        alone = config.replace("[core]\n", "[core]\n    no_scm = true\n", 1)
        (folder / ".dvc" / "config").write_text(alone)
        shutil.copy(folder / "params.smoke.yaml", folder / "params.yaml")
        return cls(folder)

    def copy(self, folder: Path) -> Workspace:
        """Copy the workspace; what DVC made is linked, it is never written in place."""
        shutil.copytree(self.folder, folder, copy_function=_link_artifacts)
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

    def plan(self) -> None:
        """Write runs.yaml."""
        self.run("stages.plan")

    def edit(self, *keys: str, value: object) -> None:
        """Set a value of params.yaml."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        place = params
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def comment(self, source: str) -> None:
        """Add a comment to a source file."""
        with open(self.folder / source, "a") as file:
            file.write("# a comment\n")

    def stale(self) -> set[str]:
        """Return the stages that DVC would run for a change of their own."""
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
        return set(done.stdout.split())

    def locked(self) -> dict[str, dict[str, str]]:
        """Return the hash of every out of every stage, as dvc.lock records them."""
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        return {
            name: {out["path"]: out["md5"] for out in stage.get("outs", [])}
            for name, stage in lock["stages"].items()
        }


def _link_artifacts(source: str, target: str) -> None:
    made = {"artifacts", "cache"} & set(Path(source).parts)
    (os.link if made else shutil.copy2)(source, target)
