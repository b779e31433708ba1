"""Is everything here that the workflow needs? One check for each part, with what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from pipelines import environment

__all__ = ["CHECKS", "Check", "examine"]

State = Literal["ok", "warning", "failed"]
MIRROR = "HEADWATER_DATA_MIRROR"


@dataclass(frozen=True)
class Check:
    """What was found of one part; `advice` says what to do where it is not well."""

    name: str
    state: State
    found: str
    advice: str = ""


def examine() -> Iterator[Check]:
    """Yield what is found of each part; an error of a check is its finding."""
    for name, check in CHECKS.items():
        try:
            yield from check()
        except Exception as error:  # whatever is wrong with a machine is what it looks for
            text = " ".join(str(error).split()) or type(error).__name__
            yield Check(name, "failed", text, "correct it; --debug of another command shows more")


def _python() -> Iterator[Check]:
    cores, threads = environment.cores(), os.environ.get("HEADWATER_THREADS", "1")
    found = (
        f"{platform.python_version()}, {platform.system()} {platform.machine()}, {cores} cores, "
    )
    yield Check("python", "ok", f"{found}{threads} thread{'s' * (threads != '1')} a stage")


def _packages() -> Iterator[Check]:
    wanted = list(_requirements())
    wrong, first = [], ("torch", "dvc", "prefect", "zarr")
    for requirement in wanted:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append((requirement, "none"))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append((requirement, version))
    if wrong:
        found = ", ".join(f"{r.name} {version} (needs {r.specifier})" for r, version in wrong)
        yield Check("packages", "failed", found, "make .venv, or pip install -e '.[workflow]'")
    else:
        names = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in first)
        yield Check("packages", "ok", f"{len(wanted)} as required: {names}")


def _requirements() -> Iterator[Requirement]:
    """Yield what headwater needs to run the workflow; its own extras are named one in another."""
    extras = ("workflow", "music", "text")
    for text in importlib.metadata.requires("headwater") or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if requirement.name != "headwater" and (
            marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
        ):
            yield requirement


def _params() -> Iterator[Check]:
    from stages.check import check_params, load_params

    params = load_params(Path("params.yaml"))
    check_params(params, {path.parent.name for path in Path("settings").glob("*/dvc.yaml")})
    found = f"{len(params.settings)} settings, {len(params.stores)} stores, {len(params.methods)} methods"
    yield Check("params.yaml", "ok", found)


def _data() -> Iterator[Check]:
    import yaml

    benchmark = yaml.safe_load(Path("params.yaml").read_text())["benchmark"]
    missing = []
    for name in benchmark:
        samples = yaml.safe_load(Path("settings", name, "setting.yaml").read_text())["samples"]
        if not Path(samples).exists():
            missing.append(samples)
    if missing:
        yield Check("data", "failed", f"no {', '.join(missing)}", "restore it: git checkout data")
    else:
        yield Check("data", "ok", f"the samples of {', '.join(benchmark)}")
    mirror = os.environ.get(MIRROR)
    if not mirror:
        downloads = Path("data/downloads")
        yield Check("mirror", "ok", f"none: official archives are downloaded to {downloads}")
    elif not Path(mirror).is_dir():
        yield Check("mirror", "failed", f"{MIRROR} is {mirror}, no folder", "correct or unset it")
    else:
        sets = sorted(path.name for path in Path(mirror).iterdir() if path.is_dir())
        yield Check("mirror", "ok", f"{mirror}: {', '.join(sets) or 'nothing'}")


def _storage() -> Iterator[Check]:
    from pipelines import repository

    kept = repository.storage()
    folder = next(p for p in (kept.cache, *kept.cache.parents) if p.exists())
    found = f"{kept.cache} ({', '.join(kept.links)})"
    hard = "hardlink" in kept.links and folder.stat().st_dev != Path().stat().st_dev
    if hard:
        yield Check("cache", "warning", f"{found} on another disk: links cannot be hard",
                    "dvc cache dir FOLDER on this one, or artifacts may be copied")  # fmt: skip
    elif not os.access(folder, os.W_OK):
        yield Check("cache", "failed", f"{found} cannot be written", "dvc cache dir FOLDER")
    else:
        yield Check("cache", "ok", found)
    if not kept.remote:
        yield Check("remote", "ok", "none: artifacts stay here")
    elif not kept.local:
        yield Check(
            "remote", "ok", f"{kept.remote}: {kept.address}, not contacted (dvc status -c does)"
        )
    elif Path(kept.address).is_dir():
        yield Check("remote", "ok", f"{kept.remote}: {kept.address}")
    else:
        yield Check("remote", "failed", f"{kept.remote}: {kept.address} is not there",
                    f"mount it, or dvc remote modify {kept.remote} url FOLDER")  # fmt: skip


def _gpu() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("gpu", "ok", ", ".join(names))
    elif machine := environment.gpus():
        version = torch.__version__
        yield Check("gpu", "warning", f"{len(machine)} here, which torch {version} cannot use",
                    "install a torch with CUDA that fits the driver")  # fmt: skip
    else:
        yield Check("gpu", "ok", "none: device auto means the CPU")


def _room() -> Iterator[Check]:
    import psutil

    from stages.budget import size
    from stages.check import load_params

    budget = load_params(Path("params.yaml")).budget
    for name, free, what in (
        ("disk", shutil.disk_usage(".").free, "one store"),
        ("memory", psutil.virtual_memory().available, "one stage"),
    ):
        allowed = getattr(budget, name) if budget else 0
        found = f"{size(free)} free"
        if free < allowed:
            yield Check(name, "warning", f"{found}, the budget lets {what} take {size(allowed)}",
                        f"make room, or lower budget.{name} in params.yaml")  # fmt: skip
        else:
            yield Check(name, "ok", found)


def _git() -> Iterator[Check]:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        yield Check("git", "warning", "not a repository, or no commit",
                    "clone the project: dvc exp, dvc diff and compare need revisions")  # fmt: skip
    else:
        yield Check("git", "ok", f"at {done.stdout.strip()}")


def _prefect() -> Iterator[Check]:
    server = os.environ.get("PREFECT_API_URL")
    own = "none: each run has one of its own"
    yield Check("prefect server", "ok", server or own)


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "python": _python,
    "packages": _packages,
    "params.yaml": _params,
    "data": _data,
    "cache": _storage,
    "git": _git,
    "prefect server": _prefect,
    "gpu": _gpu,
    "room": _room,
}
