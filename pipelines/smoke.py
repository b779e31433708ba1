"""Run the whole graph on small settings, in a throw-away copy: ``python -m pipelines.smoke``."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_FOLDER = Path(".smoke")
_SMALL = Path("params.smoke.yaml")
_COPIED = (
    *("headwater", "stages", "pipelines", "data"),
    *("dvc.yaml", "runs.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config"),
)
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.partial", "downloads")


def main() -> int:
    """Copy the project, plan and run it with ``params.smoke.yaml``; return the run's exit code."""
    root = Path.cwd()
    if not _SMALL.is_file():
        sys.stderr.write(f"{_SMALL} must be in the current folder: run this in the repository\n")
        return 1
    copy_project(root, root / _FOLDER)
    variables = _environment(root)
    for command in (["stages.plan"], ["pipelines.benchmark", *sys.argv[1:]]):
        code = subprocess.call([sys.executable, "-m", *command], cwd=root / _FOLDER, env=variables)
        if code:
            return code
    return 0


def copy_project(root: Path, folder: Path) -> None:
    """Make a fresh DVC repository with a cache of its own from the project's files.

    Args:
        root: The repository. With git, what git ignores is not copied.
        folder: Where the copy goes; whatever was there is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in _files(root):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, target, ignore=_NOT_COPIED)
        else:
            shutil.copy2(root / name, target)
    shutil.copy2(root / _SMALL, folder / "params.yaml")
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")


def _files(root: Path) -> Iterable[str]:
    names = [name for name in _COPIED if (root / name).exists()]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return names
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *names],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    files = {name for name in listed.stdout.split("\0") if name}
    return sorted(name for name in files if (root / name).is_file())


def _environment(root: Path) -> dict[str, str]:
    """The variables of the run in the copy: paths that were relative to the root stay right."""
    variables = dict(os.environ)
    if mirror := variables.get("HEADWATER_DATA_MIRROR"):
        variables["HEADWATER_DATA_MIRROR"] = str(root / mirror)
    variables["DVC_SITE_CACHE_DIR"] = str(root / _FOLDER / ".dvc" / "site")
    return variables


if __name__ == "__main__":
    sys.exit(main())
