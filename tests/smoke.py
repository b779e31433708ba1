"""Run the whole graph on small sizes, in a throw-away copy: ``python -m tests.smoke``."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

_FOLDER = Path(".smoke")
_SMALL = "params.smoke.yaml"
_COPIED = (
    "headwater",
    "stages",
    "pipelines",
    "settings",
    "data",
    "dvc.yaml",
    ".dvcignore",
    ".gitignore",
)
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.partial", "downloads", "dvc.lock")


def main() -> int:
    """Copy the project and run it with ``params.smoke.yaml``; return the run's exit code."""
    root = Path.cwd()
    if not (root / _SMALL).is_file():
        sys.stderr.write(f"{_SMALL} must be in the current folder: run this in the repository\n")
        return 1
    copy_project(root, root / _FOLDER)
    variables = {**os.environ, "DVC_SITE_CACHE_DIR": str(root / _FOLDER / ".dvc" / "site")}
    if mirror := variables.get("HEADWATER_DATA_MIRROR"):
        variables["HEADWATER_DATA_MIRROR"] = str(root / mirror)
    command = [sys.executable, "-m", "pipelines.benchmark", *sys.argv[1:]]
    return subprocess.call(command, cwd=root / _FOLDER, env=variables)


def copy_project(root: Path, folder: Path, params: Path = Path(_SMALL)) -> None:
    """Make a fresh DVC repository with a cache of its own from the project's files.

    Args:
        root: The repository.
        folder: Where the copy goes; whatever was there is removed.
        params: In the repository, what its params.yaml is.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / ".dvc").mkdir(parents=True)
    for name in _COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=_NOT_COPIED)
        else:
            shutil.copy2(root / name, folder / name)
    shutil.copy2(root / params, folder / "params.yaml")
    shutil.copy2(root / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    wanted = yaml.safe_load((folder / "params.yaml").read_text())["settings"]
    for setting in (folder / "settings").iterdir():
        if setting.is_dir() and setting.name not in wanted:
            shutil.rmtree(setting)


if __name__ == "__main__":
    sys.exit(main())
